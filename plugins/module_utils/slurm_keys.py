# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each Slurm version knows of its configuration keys: their values, what a change needs, which are defunct.

Which keys there are, and which are defunct, is what Slurm's own parser says; tests/unit/fixtures/keys_*.txt has it on
record, and the tests hold it against this table. The source of what a change needs stands beside each group of keys.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Iterable, Mapping, NamedTuple, Tuple

Version = Tuple[int, int]

GLOBAL, NODE, PARTITION, NODESET, DOWNNODES = "slurm.conf", "node", "partition", "nodeset", "downnodes"
GRES, CGROUP = "gres.conf", "cgroup.conf"
"""The kinds of lines: those of slurm.conf without a first key of their own, those with one, and the other files."""


class Key(NamedTuple):
    """What one Slurm version knows of a key."""

    name: str
    """As the manual spells it; Slurm does not care about case."""
    form: str
    """What Slurm takes as a value: text, bool, float, or u16, u32, u64 for a number of so many bits."""
    restart: frozenset[str]
    """The daemons (slurmctld, slurmd) that see a change only after a restart; if none, a reconfigure is enough."""
    defunct: bool
    """Slurm reads and ignores it, and its daemons log an error."""


_SLURM_22_05: Version = (22, 5)
_SLURM_24_11: Version = (24, 11)

# KEY, or KEY:FORM where the value is not text. PartitionName, NodeSet and DownNodes are not here, because in the data
# they are names, not keys; FrontendName is not, because it needs a Slurm that is built for it.
_IN_ALL: Mapping[str, str] = {
    GLOBAL: """
        AccountingStorageBackupHost AccountingStorageEnforce AccountingStorageExternalHost AccountingStorageHost
        AccountingStorageLoc AccountingStorageParameters AccountingStoragePass AccountingStoragePort:u16
        AccountingStorageTRES AccountingStorageType AccountingStorageUser AccountingStoreFlags
        AccountingStoreJobComment:bool AcctGatherEnergyType AcctGatherFilesystemType AcctGatherInfinibandType
        AcctGatherInterconnectType AcctGatherNodeFreq:u16 AcctGatherProfileType AllowSpecResourcesUsage:bool
        AuthAltParameters AuthAltTypes AuthInfo AuthType BackupAddr BackupController BatchStartTimeout:u16
        BcastExclude BcastParameters BurstBufferParameters BurstBufferType CliFilterPlugins ClusterName
        CommunicationParameters CompleteWait:u16 ControlAddr ControlMachine CoreSpecPlugin CpuFreqDef CpuFreqGovernors
        CredType CryptoType DebugFlags DefCpuPerGPU:u64 DefMemPerCPU:u64 DefMemPerGPU:u64 DefMemPerNode:u64
        DependencyParameters DisableRootJobs:bool EioTimeout:u16 EnforcePartLimits Epilog EpilogMsgTime:u32
        EpilogSlurmctld ExtSensorsFreq:u16 ExtSensorsType FairShareDampeningFactor:u16 FastSchedule:u16
        FederationParameters FirstJobId:u32 GetEnvTimeout:u16 GpuFreqDef GresTypes GroupUpdateForce:u16
        GroupUpdateTime:u16 HealthCheckInterval:u16 HealthCheckNodeState HealthCheckProgram InactiveLimit:u16
        InteractiveStepOptions JobAcctGatherFrequency JobAcctGatherParams JobAcctGatherType JobCompHost JobCompLoc
        JobCompParams JobCompPass JobCompPort:u32 JobCompType JobCompUser JobContainerType JobCredentialPrivateKey
        JobCredentialPublicCertificate JobFileAppend:u16 JobRequeue:u16 JobSubmitPlugins KeepAliveTime:u32
        KillOnBadExit:u16 KillWait:u16 LaunchParameters LaunchType Licenses LogTimeFormat MailDomain MailProg
        MaxArraySize:u32 MaxDBDMsgs:u32 MaxJobCount:u32 MaxJobId:u32 MaxMemPerCPU:u64 MaxMemPerNode:u64
        MaxNodeCount:u32 MaxStepCount:u32 MaxTasksPerNode:u16 MCSParameters MCSPlugin MessageTimeout:u16 MinJobAge:u32
        MpiDefault MpiParams NodeFeaturesPlugins OverTimeLimit:u16 PluginDir PlugStackConfig PowerParameters
        PowerPlugin PreemptExemptTime PreemptMode PreemptType PrEpParameters PrEpPlugins PriorityCalcPeriod
        PriorityDecayHalfLife PriorityFavorSmall:bool PriorityFlags PriorityMaxAge PriorityParameters
        PrioritySiteFactorParameters PrioritySiteFactorPlugin PriorityType PriorityUsageResetPeriod
        PriorityWeightAge:u32 PriorityWeightAssoc:u32 PriorityWeightFairshare:u32 PriorityWeightJobSize:u32
        PriorityWeightPartition:u32 PriorityWeightQOS:u32 PriorityWeightTRES PrivateData ProctrackType Prolog
        PrologEpilogTimeout:u16 PrologFlags PrologSlurmctld PropagatePrioProcess:u16 PropagateResourceLimits
        PropagateResourceLimitsExcept RebootProgram ReconfigFlags RequeueExit RequeueExitHold ResumeFailProgram
        ResumeProgram ResumeRate:u16 ResumeTimeout:u16 ResvEpilog ResvOverRun:u16 ResvProlog ReturnToService:u16
        RoutePlugin SallocDefaultCommand SbcastParameters SchedulerParameters SchedulerTimeSlice:u16 SchedulerType
        ScronParameters SelectType SelectTypeParameters SlurmctldAddr SlurmctldDebug SlurmctldHost SlurmctldLogFile
        SlurmctldParameters SlurmctldPidFile SlurmctldPort SlurmctldPrimaryOffProg SlurmctldPrimaryOnProg
        SlurmctldSyslogDebug SlurmctldTimeout:u16 SlurmdDebug SlurmdLogFile SlurmdParameters SlurmdPidFile
        SlurmdPort:u32 SlurmdSpoolDir SlurmdSyslogDebug SlurmdTimeout:u16 SlurmdUser SlurmSchedLogFile
        SlurmSchedLogLevel:u16 SlurmUser SrunEpilog SrunPortRange SrunProlog StateSaveLocation SuspendExcNodes
        SuspendExcParts SuspendProgram SuspendRate:u16 SuspendTime SuspendTimeout:u16 SwitchParameters SwitchType
        TaskEpilog TaskPlugin TaskPluginParam TaskProlog TCPTimeout:u16 TmpFS TopologyParam TopologyPlugin
        TrackWCKey:bool TreeWidth:u16 UnkillableStepProgram UnkillableStepTimeout:u16 UsePAM:bool VSizeFactor:u16
        WaitTime:u16 X11Parameters
    """,
    NODE: """
        BcastAddr Boards:u16 CoreSpecCount:u16 CoresPerSocket:u16 CpuBind CPUs:u16 CpuSpecList Feature Features Gres
        MemSpecLimit:u64 NodeAddr NodeHostname NodeName Port Procs:u16 RealMemory:u64 Reason Sockets:u16
        SocketsPerBoard:u16 State ThreadsPerCore:u16 TmpDisk:u32 TRESWeights Weight:u32
    """,
    PARTITION: """
        AllocNodes AllowAccounts AllowGroups AllowQos Alternate CpuBind Default:bool DefaultTime DefCpuPerGPU:u64
        DefMemPerCPU:u64 DefMemPerGPU:u64 DefMemPerNode:u64 DenyAccounts DenyQos DisableRootJobs:bool
        ExclusiveUser:bool GraceTime:u32 Hidden:bool LLN:bool MaxCPUsPerNode:u32 MaxMemPerCPU:u64 MaxMemPerNode:u64
        MaxNodes:u32 MaxTime MinNodes:u32 Nodes OverSubscribe OverTimeLimit PreemptMode Priority:u16
        PriorityJobFactor:u16 PriorityTier:u16 QOS ReqResv:bool ResumeTimeout:u16 RootOnly:bool SelectTypeParameters
        Shared State SuspendTime SuspendTimeout:u16 TRESBillingWeights
    """,
    NODESET: "Feature Nodes",
    DOWNNODES: "Reason State",
    GRES: "AutoDetect Cores Count CPUs File Files Flags Link Links MultipleFiles Name NodeName Type",
    CGROUP: """
        AllowedDevicesFile AllowedRAMSpace:float AllowedSwapSpace:float CgroupAutomount:bool CgroupMountpoint
        CgroupPlugin CgroupReleaseAgentDir ConstrainCores:bool ConstrainDevices:bool ConstrainRAMSpace:bool
        ConstrainSwapSpace:bool IgnoreSystemd:bool IgnoreSystemdOnFailure:bool MaxRAMPercent:float
        MaxSwapPercent:float MemoryLimitEnforcement:bool MemoryLimitThreshold:float MemorySwappiness:u64
        MinRAMSpace:u64
    """,
}

_ONLY_IN: Mapping[Version, Mapping[str, str]] = {
    _SLURM_22_05: {
        GLOBAL: "SchedulerAuth SlurmctldPlugstack",
        CGROUP: "AllowedKmemSpace:float ConstrainKmemSpace:bool MaxKmemPercent:float MinKmemSpace:u64",
    },
    _SLURM_24_11: {
        GLOBAL: """
            CertmgrParameters CertmgrType DataParserParameters HashPlugin MaxBatchRequeue:u32 PreemptParameters
            SuspendExcStates TLSParameters TLSType
        """,
        NODE: "RestrictedCoresPerGPU:u16",
        PARTITION: "ExclusiveTopo:bool MaxCPUsPerSocket:u32 PowerDownOnIdle:bool",
        CGROUP: "EnableControllers:bool SignalChildrenProcesses:bool SystemdTimeout:u64",
    },
}

# FastSchedule is read, and then refused or ignored with an error, by both.
_DEFUNCT: Mapping[Version, str] = {
    _SLURM_22_05: "FastSchedule SchedulerAuth",
    _SLURM_24_11: """
        CgroupAutomount CoreSpecPlugin ExtSensorsFreq ExtSensorsType FastSchedule JobCredentialPrivateKey
        JobCredentialPublicCertificate PowerParameters PowerPlugin
    """,
}

_REPEATABLE: Mapping[Version, str] = {
    _SLURM_22_05: "SlurmctldHost",
    # slurm.conf(5) Prolog: several scripts, each on a line of its own (since 24.05).
    _SLURM_24_11: "Epilog EpilogSlurmctld Prolog PrologSlurmctld SlurmctldHost",
}

_BOTH = "slurmctld slurmd"

# The daemons that have to be restarted, and the keys. What is not here needs a reconfigure only.
_RESTART: Mapping[Version, Mapping[str, tuple[tuple[str, str], ...]]] = {
    _SLURM_22_05: {
        GLOBAL: (
            # slurm.conf(5): "A restart of slurmctld is required", for SlurmctldParameters at enable_configless. Of a
            # changed MaxNodeCount slurmctld dies at reconfigure (tried).
            (
                "slurmctld",
                """
                AccountingStorageEnforce MaxJobCount MaxNodeCount PowerPlugin SchedulerType SelectTypeParameters
                SlurmctldHost SlurmctldParameters SlurmctldPort StateSaveLocation
                """,
            ),
            # slurm.conf(5): "A restart of the slurmd daemons is required".
            ("slurmd", "CoreSpecPlugin"),
            # slurm.conf(5): a restart of both, or of all daemons. For CredType, JobContainerType, ProctrackType and
            # SlurmdPort it names slurmctld alone, but it is when it starts that slurmd loads these plugins and listens.
            (
                _BOTH,
                "AuthType CredType GresTypes JobContainerType PluginDir ProctrackType SelectType SlurmdPort SwitchType",
            ),
            # Plugins that slurmctld, and those that both load when they start, and not again at reconfigure
            # (read_slurm_conf() and slurmd's _reconfigure() of that release).
            (
                "slurmctld",
                """
                AccountingStorageType BurstBufferType ExtSensorsType JobCompType PrioritySiteFactorPlugin PriorityType
                SlurmctldPlugstack
                """,
            ),
            (
                _BOTH,
                """
                AcctGatherEnergyType AcctGatherFilesystemType AcctGatherInfinibandType AcctGatherInterconnectType
                AcctGatherProfileType AuthAltTypes CryptoType JobAcctGatherType NodeFeaturesPlugins RoutePlugin
                TopologyPlugin
                """,
            ),
            ("slurmd", "TaskPlugin"),
            # What a daemon is, where it keeps its state, and how it listens, is settled when it starts.
            ("slurmctld", "BackupAddr BackupController ClusterName ControlAddr ControlMachine SlurmUser"),
            ("slurmd", "SlurmdSpoolDir SlurmdUser"),
            (_BOTH, "CommunicationParameters"),
        ),
        NODE: (
            # slurm.conf(5), NODE CONFIGURATION; tried: at reconfigure slurmctld dies of another set of nodes, refuses
            # another CPU count ("require restart of the slurmctld daemon") and does not see the memory limit; a node
            # whose Gres count went down is drained. All other keys were taken over. slurmd follows at the
            # reconfigure that comes after the restart.
            (
                "slurmctld",
                """
                Boards CPUs CoreSpecCount CoresPerSocket CpuSpecList Gres MemSpecLimit NodeName Procs Sockets
                SocketsPerBoard ThreadsPerCore
                """,
            ),
            ("slurmd", "Port"),
        ),
        # gres.conf(5).
        GRES: (("slurmctld", "Cores CPUs"), (_BOTH, "Type")),
        # slurmd picks the plugin, and the plugin its place, when it starts.
        CGROUP: (("slurmd", "CgroupAutomount CgroupMountpoint CgroupPlugin IgnoreSystemd IgnoreSystemdOnFailure"),),
    },
    # Since 23.11 a reconfigure starts new processes, which read everything, but keep the listening sockets and the
    # authentication of the old ones (scontrol(1) reconfigure, slurm.conf(5) AuthType), and their user.
    _SLURM_24_11: {
        GLOBAL: (
            ("slurmctld", "SlurmUser SlurmctldPort"),
            ("slurmd", "SlurmdUser"),
            (_BOTH, "AuthAltTypes AuthType CommunicationParameters SlurmdPort"),
        ),
        NODE: (("slurmd", "Port"),),
        # gres.conf(5).
        GRES: (("slurmctld", "Cores CPUs"),),
    },
}

_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")
_INTEGER = re.compile(r"\s*\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)([kK]?)", re.ASCII)
_FLOAT = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_UNLIMITED = ("UNLIMITED", "INFINITE")
_TRUE, _FALSE = ("YES", "UP", "TRUE", "1"), ("NO", "DOWN", "FALSE", "0")
_LINES = {NODE: "NodeName", PARTITION: "PartitionName", NODESET: "NodeSet", DOWNNODES: "DownNodes"}


def parse_version(text: str) -> Version:
    """The version (24, 11) of a text such as "24.11.5". Raises ValueError where it does not begin so."""
    match = _VERSION.match(text)
    if not match:
        raise ValueError(f"Slurm version: found {text!r}; accepted: a version such as 24.11.5")
    return int(match[1]), int(match[2])


def known(version: str, kind: str) -> Mapping[str, Key]:
    """The keys of a kind of line by their lower-case names, as the newest table not newer than `version` has them.

    A version older than all tables gets the oldest. Raises ValueError for what is no version, KeyError for no kind.
    """
    return _TABLES[_table(version)][kind]


def every(kind: str) -> Mapping[str, str]:
    """The keys of a kind of line that any of the tables knows, as the manual spells them, by their lower-case names."""
    return {lower: key.name for table in _TABLES.values() for lower, key in table[kind].items()}


def repeatable(version: str) -> frozenset[str]:
    """The global keys, in lower case, of which Slurm keeps every line; of all others the last line counts."""
    return frozenset(_REPEATABLE[_table(version)].lower().split())


def nearest(version: str, kind: str, key: str) -> str | None:
    """The known key that was probably meant, if one is near enough."""
    keys = known(version, kind)
    matches = difflib.get_close_matches(key.lower(), keys, n=1)
    return keys[matches[0]].name if matches else None


def findings(version: str, kind: str, where: str, keys: Iterable[str]) -> list[str]:
    """What is wrong with the names of `keys`, which stand at `where`: one line for each that is unknown or defunct.

    Between two tables a key of the newer one passes, and after the newest table every key: Slurm itself has to judge.
    """
    return [text for text in (_finding(version, kind, where, str(key)) for key in keys) if text]


def parse_value(key: Key, text: str) -> Any:
    """The value that Slurm's parser makes of the text (parse_value.c): text, bool, int or float.

    What a text means is not its business but that of the daemons. UNLIMITED and INFINITE stay text. Raises ValueError
    for what it refuses, with what is accepted.
    """
    if key.form == "text":
        return text
    if key.form == "bool":
        if text.upper() in _TRUE + _FALSE:
            return text.upper() in _TRUE
        raise ValueError("YES or NO")
    if text.upper() in _UNLIMITED:
        return text.upper()
    if not text:  # as strtoul() has it
        return 0
    if key.form == "float":
        match = _FLOAT.fullmatch(text)
        if match:
            return int(text) if text.isdigit() else float(text)
        raise ValueError("a number, or UNLIMITED")
    bits = int(key.form[1:])
    number = _integer(text, bits)
    if number is None:
        raise ValueError(f"a number below {2**bits}, or UNLIMITED")
    return number


def _integer(text: str, bits: int) -> int | None:
    """A number as C writes it (0x hexadecimal, 0 octal), with K for 1024 where it has more than 16 bits."""
    match = _INTEGER.fullmatch(text)
    if not match or len(text) > 40 or (match[2] and bits == 16):
        return None
    digits = match[1].lower()
    number = int(digits, 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10)
    number *= 1024 if match[2] else 1
    return number if number < 2**bits else None


def _finding(version: str, kind: str, where: str, key: str) -> str:
    lower = key.lower()
    asked = parse_version(version)
    found = _TABLES[_table(version)][kind].get(lower)
    slurm = "Slurm {}.{:02}".format(*asked)
    if found:
        if not found.defunct:
            return ""
        return f"{where}: found the key {key}, which is defunct in {slurm}; accepted: no such key"
    later = [table for table in _TABLES if table > asked]
    if asked not in _TABLES and (not later or lower in _TABLES[min(later)][kind]):
        return ""
    if any(lower in table[kind] for table in _TABLES.values()):
        return f"{where}: found the key {key}, which {slurm} does not know; accepted: no such key"
    accepted = f"a key of {kind if kind in (GRES, CGROUP) else GLOBAL}(5)"
    accepted += f" for a {_LINES[kind]} line" if kind in _LINES else ""
    meant = nearest(version, kind, key)
    accepted += f", such as {meant}" if meant else ""
    return f"{where}: found the unknown key {key}; accepted: {accepted}"


def _table(version: str) -> Version:
    asked = parse_version(version)
    return max((each for each in _ONLY_IN if each <= asked), default=min(_ONLY_IN))


def _build(version: Version, kind: str) -> dict[str, Key]:
    daemons: dict[str, frozenset[str]] = {}
    for names, keys in _RESTART[version].get(kind, ()):
        daemons.update((key, frozenset(names.split())) for key in keys.lower().split())
    defunct = _DEFUNCT[version].lower().split()
    table = {}
    for word in (_IN_ALL[kind] + " " + _ONLY_IN[version].get(kind, "")).split():
        name, _colon, form = word.partition(":")
        lower = name.lower()
        table[lower] = Key(name, form or "text", daemons.get(lower, frozenset()), lower in defunct)
    return table


_TABLES = {version: {kind: _build(version, kind) for kind in _IN_ALL} for version in _ONLY_IN}
