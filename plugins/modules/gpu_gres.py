#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The GPUs of a host as generic resources of Slurm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_gres
short_description: The GPUs of a host as generic resources of Slurm
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Finds the GPUs of a host and says them in Slurm's words, the text for C(Gres=) of the node, the lines of
    C(gres.conf), and a record for each device.
  - NVIDIA GPUs are found with nvidia-smi, AMD's and Intel's in C(/sys). A card on the PCI bus that no driver offers is
    a finding, and so is one that fell off the bus.
  - Cores are Slurm's own numbers, as in C(lstopo -l), of the whole socket that a device is near to. They are left out
    where they would say nothing. Links are left out where all pairs of devices are alike.
  - Compares with what was expected, and with what slurmctld has.
requirements:
  - nvidia-smi of the driver for NVIDIA GPUs; nothing for others
options:
  state:
    description:
      - V(gathered) only reports.
      - V(present) keeps the lines in a local C(gres.conf), in a block of its own. It is refused where slurmd fetches
        its configuration (C(--conf-server)), because that file is not read there; see M(aicluster.slurm.slurm_config).
      - V(absent) removes that block.
    type: str
    choices: [gathered, present, absent]
    default: gathered
  path:
    description: The local C(gres.conf).
    type: path
    default: /etc/slurm/gres.conf
  types:
    description:
      - How types are named. V(slurm) is what slurmd's own detection calls them, such as C(nvidia_h100_80gb_hbm3), and
        C(nvidia_a100_3g.20gb) for MIG instances. V(short) is the model alone, such as C(h100), and the MIG profile.
    type: str
    choices: [slurm, short]
    default: slurm
  type_names:
    description: Types by the name that nvidia-smi or the driver gives to a card, or by MIG profile. They come first.
    type: dict
    default: {}
  ignore:
    description: Devices that Slurm shall not have, by bus id (C(0000:4e:00.0)), UUID or device file.
    type: list
    elements: str
    default: []
  integrated:
    description:
      - Whether GPUs count that are part of a processor of AMD, as in desktops and laptops. ROCm
        lists them like cards. Those of Intel's processors never count.
    type: bool
    default: false
  min_compute_capability:
    description: Refuse NVIDIA GPUs of a lower compute capability, unless they are ignored. Empty for no such floor.
    type: str
    default: ""
  shards:
    description: Parts of each GPU that jobs can share by C(--gres=shard). Not together with O(mps) or MIG instances.
    type: int
    default: 0
  mps:
    description: Parts of each GPU for CUDA's Multi-Process Service, C(--gres=mps); 100 is usual. Not with MIG, and for
      NVIDIA GPUs alone.
    type: int
    default: 0
  autodetect:
    description:
      - C(AutoDetect) in the local C(gres.conf). Devices stand there either way; with a mode other than V(off) slurmd
        checks them and drains the node on a mismatch.
      - V(auto) is V(nvml) where Slurm was built with it, else V(nvidia) from 24.11 on, else V(off).
    type: str
    choices: ["off", auto, nvidia, nvml]
    default: "off"
  expected:
    description: What was there before, or was declared. What differs is in RV(drift).
    type: dict
    suboptions:
      gres:
        description: Gres records, as in RV(gres) or C(gpu_devices).
        type: list
        elements: dict
        default: []
      devices:
        description: Device records, as in RV(devices). With them RV(missing) names bus ids.
        type: list
        elements: dict
        default: []
  node:
    description: >-
      The name of this node. With it RV(drift) also tells where slurmctld has other GPUs (C(scontrol show node)).
    type: str
  mig:
    description:
      - The wanted MIG instances by bus id, UUID or device file of a card, or V(all) for every other card that has MIG.
        The value is profiles with numbers, such as V(1g.10gb:7); nothing turns MIG off.
      - What differs is planned in RV(mig), and changed with O(mig_apply).
    type: dict
    default: {}
  mig_apply:
    description:
      - Repartition cards whose instances differ. Refused while a process uses one of them. Drain the node first,
        because Slurm may start a job at any time.
      - A card is never reset. Where it takes MIG mode only after a reset or a reboot the module fails and says so.
    type: bool
    default: false
  timeout:
    description: Seconds that a tool has to answer. A driver that hangs is left alone after that, and the module fails.
    type: int
    default: 60
  root:
    description: The folder that stands for C(/), for files of the kernel and for O(path).
    type: path
    default: /
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Shows the file before and after, and how MIG instances differ.
    support: full
  idempotent:
    description: Changes nothing when all is as wanted.
    support: full
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: See which GPUs a host has
  aicluster.slurm.gpu_gres:
  register: gpus

- name: Keep a gres.conf where slurmd reads one
  aicluster.slurm.gpu_gres:
    state: present
    types: short

- name: Compare with what was declared, without a card that shall drive a display
  aicluster.slurm.gpu_gres:
    expected:
      gres: "{{ gpu_devices }}"
    ignore: ["0000:03:00.0"]

- name: Cut every A100 into seven
  aicluster.slurm.gpu_gres:
    mig:
      all: 1g.10gb:7
    mig_apply: true
"""

RETURN = r"""
gres:
  description: A record for each group of alike devices, as M(aicluster.slurm.slurm_config) takes them.
  type: list
  elements: dict
  returned: success
  sample:
    - {name: gpu, type: nvidia_h100_80gb_hbm3, count: 8, files: ["/dev/nvidia[0-7]"], flags: [nvidia_gpu_env]}
node_gres:
  description: The same as C(Gres=) of the node's line.
  type: str
  returned: success
  sample: gpu:nvidia_h100_80gb_hbm3:8
lines:
  description: The same as lines of C(gres.conf).
  type: list
  elements: str
  returned: success
  sample: ["AutoDetect=off", "Name=gpu Type=nvidia_h100_80gb_hbm3 File=/dev/nvidia[0-7] Flags=nvidia_gpu_env"]
devices:
  description: The devices in the order of their bus ids.
  type: list
  elements: dict
  returned: success
  sample:
    - vendor: nvidia
      bus_id: 0000:4e:00.0
      name: NVIDIA H100 80GB HBM3
      type: nvidia_h100_80gb_hbm3
      uuid: GPU-6944fa2c-3ae5-e9f0-b06e-797869cb0282
      file: /dev/nvidia0
      memory_mb: 81559
      driver: 570.86.15
      compute_capability: "9.0"
      numa_node: 0
      cores: 0-55
      links: null
      mig: null
      mig_capable: true
      integrated: false
findings:
  description: What is wrong, in words.
  type: list
  elements: str
  returned: success
  sample: ["0000:4e:00.0: a card of nvidia (PCI device 2330) with no driver"]
drift:
  description: What differs from O(expected) and from slurmctld, in words.
  type: list
  elements: str
  returned: success
  sample: ["gpu:nvidia_h100_80gb_hbm3: expected 8, found 7: 0000:4e:00.0 missing"]
missing:
  description: What was expected and is not there, by bus id where that is known.
  type: list
  elements: str
  returned: success
  sample: ["0000:4e:00.0"]
mig:
  description: The cards whose MIG instances differ from O(mig), in words.
  type: list
  elements: str
  returned: success
  sample: ["0000:4e:00.0: MIG: found none, wanted 1g.10gb:7"]
commands:
  description: The commands that changed something, or would in check mode, in order.
  type: list
  elements: list
  returned: always
  sample: [[nvidia-smi, mig, "--id=0000:4e:00.0", -cgi, "1g.10gb,1g.10gb", -C]]
"""

import re
from typing import Any, Mapping, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import gpu, gpu_nvidia, gpu_sysfs, gres, gres_local, sysfs
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    NOT_THERE,
    CommandError,
    Runner,
    bounded_runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import Found, GpuError, Naming
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import (
    ScontrolError,
    parse_nodes_text,
    parse_version,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import Tree

NEWEST = (24, 11)
"""The version that counts for a host without Slurm."""


class Host(NamedTuple):
    """A host's GPUs that Slurm shall have."""

    found: Found
    naming: Naming
    groups: tuple[gres.GresGroup, ...]
    aside: frozenset[str] = frozenset()
    """Bus ids and UUIDs of GPUs that are parts of processors, and left out."""


def find(run: Runner, tree: Tree) -> Found:
    """All GPUs of the host with their places, and what is wrong with others. Raises CommandError and GpuError."""
    cards = sysfs.read_cards(tree)
    parts = [gpu_nvidia.read(run, tree, cards), gpu_sysfs.read_amd(tree), gpu_sysfs.read_intel(tree, cards)]
    cores = sysfs.read_cores(tree) if any(part.devices for part in parts) else []
    places = {card.bus_id: card for card in cards}
    devices = []
    for device in (device for part in parts for device in part.devices):
        card = places.get(device.bus_id)
        if card:
            device = device._replace(numa_node=card.numa_node, cores=sysfs.near_cores(cores, card.cpus))
        devices.append(device)
    found = Found(devices, [finding for part in parts for finding in part.findings])
    return found._replace(findings=found.findings + gpu.card_findings(cards, found))


def slurm_version(run: Runner) -> tuple[int, int]:
    """The version of this host's slurmd; the newest where there is none yet. Raises CommandError, ScontrolError."""
    result = run(["slurmd", "-V"])
    return NEWEST if result.rc == NOT_THERE else parse_version(require(result).stdout)


def ignored(params: Mapping[str, Any]) -> set[str]:
    """The names of devices that Slurm shall not have, in the spelling of gpu.plain_name."""
    return set(map(gpu.plain_name, params["ignore"])) - {""}


def look(run: Runner, tree: Tree, params: Mapping[str, Any]) -> Host:
    """The host's GPUs without those that are ignored. Raises CommandError, GpuError and GresError."""
    found = find(run, tree)
    ignore = ignored(params)
    there = gpu.without(found.devices, ignore)
    kept = [device for device in there if params["integrated"] or not device.integrated]
    findings = [finding for finding in found.findings if not any(word in finding.lower() for word in ignore)]
    if not kept:
        # Beside a card it is for a display; alone it may be what was meant.
        findings += [f"{device.bus_id}: {device.name} is part of a processor, and left out" for device in there]
    foreign = [f"{device.bus_id} ({device.name})" for device in kept if device.vendor != sysfs.NVIDIA]
    if params["mps"] and foreign:
        accepted = "NVIDIA GPUs alone, because it is CUDA's; shards for others; or an entry in ignore"
        raise GpuError(f"mps: found {params['mps']} with {', '.join(foreign)}; accepted: {accepted}")
    if (params["mps"] or params["shards"]) and any(device.mig for device in kept):
        # slurmd would count each file of an instance as a GPU of its own.
        raise GpuError("mps, shards: found one of them with MIG instances; accepted: on hosts whose cards are whole")
    if params["min_compute_capability"]:
        weak = gpu.below(kept, params["min_compute_capability"])
        if weak:
            raise GpuError("; ".join(weak) + ", or an entry in ignore")
    naming = Naming(params["types"] == "short", {str(key): str(name) for key, name in params["type_names"].items()})
    version = slurm_version(run) if any(device.mig for device in kept) else NEWEST
    groups = gpu.gres_groups(kept, naming, {"mps": params["mps"], "shard": params["shards"]}, version)
    # As strict as with what people declare: a type from type_names may be one that no job could ask for.
    gres.parse_all([gpu.record(group) for group in groups], "gpu_gres")
    aside = {name.lower() for device in there if device not in kept for name in (device.bus_id, device.uuid) if name}
    return Host(Found(kept, findings), naming, groups, frozenset(aside))


def differences(run: Runner, host: Host, params: Mapping[str, Any]) -> dict[str, list[str]]:
    """What differs from what was expected and from slurmctld, as `drift` and `missing`."""
    expected = params["expected"] or {"gres": [], "devices": []}
    said = gpu.counts(gres.parse_all(expected["gres"], "expected: gres"))
    aside = ignored(params) | host.aside
    known = [entry for entry in expected["devices"] if aside.isdisjoint(known_names(entry))]
    found = gpu.counts(host.groups)
    # Parts are not found, but asked for: another number is no drift, and fewer are no loss.
    devices = {kind: number for kind, number in found.items() if kind not in gpu.SHARED}
    wanted = {kind: number for kind, number in said.items() if kind not in gpu.SHARED}
    gone = gpu.missing(known, host.found.devices, host.naming, bool(params["mig"]))
    drift = gpu.drift("expected", wanted, devices, gone) if wanted or known else []
    missing = list(dict.fromkeys(gone.values()))
    if not expected["devices"]:
        missing = [f"{number - found[kind]} {kind}" for kind, number in wanted.items() if devices.get(kind, 0) < number]
    if params["node"]:
        drift += gpu.drift("slurmctld has", controller_gres(run, params["node"]), found, gone)
    return {"drift": drift, "missing": missing}


def known_names(entry: Mapping[str, Any]) -> set[str]:
    """By what a device record names its device."""
    return {str(entry[key]).lower() for key in ("bus_id", "uuid", "file") if entry.get(key)}


def controller_gres(run: Runner, node: str) -> dict[str, int]:
    """What slurmctld has for this node, by name and type. Raises CommandError, and GpuError for a node it has not."""
    shown = require(run(["scontrol", "--oneliner", "show", "node", node])).stdout
    try:
        nodes = parse_nodes_text(shown)
    except ScontrolError as error:
        raise GpuError(str(error)) from error
    if node not in nodes:
        raise GpuError(f"node: slurmctld shows no {node}; accepted: a node that it shows")
    return gpu.parse_gres(nodes[node].gres)


def repartition(run: Runner, plans: list[gpu_nvidia.Layout], commands: list[list[str]]) -> None:
    """Follow the plans. Raises GpuError, also while a process uses one of the cards, and CommandError."""
    users = gpu_nvidia.users(run, plans)
    if users:
        raise GpuError(f"mig: found processes on the cards: {'; '.join(users)}; accepted: cards that nothing uses")
    for plan in plans:
        for argv in plan.commands:
            commands.append(argv)
            gpu_nvidia.follow(run, argv)


def use_mig(
    run: Runner, tree: Tree, host: Host, params: Mapping[str, Any], change: bool, facts: dict[str, Any]
) -> Host:
    """Have the MIG instances as wanted, where that is asked; the host as it is then. Raises as its parts do."""
    gone = {name for entry in (params["expected"] or {}).get("devices", []) for name in known_names(entry)}
    plans = gpu_nvidia.plan_layout(host.found.devices, params["mig"], gone)
    facts["mig"] = [plan.words for plan in plans]
    if not plans or not params["mig_apply"]:
        return host
    if not change:
        facts["commands"] += [argv for plan in plans for argv in plan.commands]
        return host
    repartition(run, plans, facts["commands"])
    after = look(run, tree, params)
    left = gpu_nvidia.plan_layout(after.found.devices, params["mig"], gone)
    if left:
        words = "; ".join(plan.words for plan in left)
        raise GpuError(
            f"mig: {words}, also after the commands; the card may need a reset or a reboot to change its mode"
        )
    return after


def local_lines(run: Runner, tree: Tree, host: Host, wanted: str) -> list[str]:
    """The lines of a local gres.conf. Raises CommandError, GpuError."""
    mode = "off"
    if wanted != "off":
        folders = [
            f"{folder}{middle}/{name}"
            for folder in gres_local.PLUGINS
            for middle in ["", *(f"/{entry}" for entry in tree.names(folder) if re.fullmatch(r"\w+-linux-gnu", entry))]
            for name in ("slurm", "slurm-wlm")
        ]
        has_nvml = any(tree.exists(f"{folder}/gpu_nvml.so") for folder in folders)
        mode = gres_local.autodetect(wanted, slurm_version(run), has_nvml)
    lines = gres.local_lines(host.groups)
    return [f"AutoDetect={mode}", *lines] if lines else []


def is_configless(run: Runner, tree: Tree) -> bool:
    """Whether this host's slurmd fetches its configuration: as it runs, or as it is set up to."""
    pid = run(["systemctl", "show", "--property=MainPID", "--value", "slurmd"]).stdout.strip()
    running = tree.text(f"/proc/{pid}/cmdline") if pid not in ("", "0") else ""
    options = "".join(tree.text(f"/etc/default/{name}") for name in ("slurmd", "aicluster-slurmd"))
    return "--conf-server" in (running or re.sub(r"(?m)^\s*#.*$", "", options))


def manage(run: Runner, params: Mapping[str, Any], check_mode: bool, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole of it; what it gives back is the result. Raises all errors of its parts."""
    if params["mps"] and params["shards"]:
        raise GpuError("mps: found one together with shards; accepted: one of both, a GPU is shared in one way")
    tree = Tree(params["root"])
    result: dict[str, Any] = {"changed": False, "diff": []}
    lines: list[str] = []
    if params["state"] != "absent":
        host = use_mig(run, tree, look(run, tree, params), params, not check_mode, facts)
        lines = local_lines(run, tree, host, params["autodetect"])
        result.update(
            gres=[gpu.record(group) for group in host.groups],
            node_gres=gres.node_gres(host.groups),
            lines=lines,
            devices=[gpu.device_record(device, host.naming) for device in host.found.devices],
            findings=host.found.findings,
            **differences(run, host, params),
        )
    if facts["commands"]:
        result["changed"] = True
        result["diff"].append({"header": "MIG", "before": "", "after": "".join(word + "\n" for word in facts["mig"])})
    if params["state"] != "gathered":
        if params["state"] == "present" and is_configless(run, tree):
            raise GpuError(
                f"state: found a slurmd with --conf-server, which does not read {params['path']}; accepted: gathered"
            )
        path = tree.path(params["path"])
        before = read_whole(path)
        after = gres_local.with_block(before, lines)
        if before != after:
            result["changed"] = True
            result["diff"].append({"before_header": path, "after_header": path, "before": before, "after": after})
            if not check_mode:
                write_whole(path, after)
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["gathered", "present", "absent"], "default": "gathered"},
            "path": {"type": "path", "default": "/etc/slurm/gres.conf"},
            "types": {"type": "str", "choices": ["slurm", "short"], "default": "slurm"},
            "type_names": {"type": "dict", "default": {}},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "integrated": {"type": "bool", "default": False},
            "min_compute_capability": {"type": "str", "default": ""},
            "shards": {"type": "int", "default": 0},
            "mps": {"type": "int", "default": 0},
            "autodetect": {"type": "str", "choices": ["off", "auto", "nvidia", "nvml"], "default": "off"},
            "expected": {
                "type": "dict",
                "options": {
                    "gres": {"type": "list", "elements": "dict", "default": []},
                    "devices": {"type": "list", "elements": "dict", "default": []},
                },
            },
            "node": {"type": "str"},
            "mig": {"type": "dict", "default": {}},
            "mig_apply": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    facts: dict[str, Any] = {"commands": [], "mig": []}
    try:
        result = manage(bounded_runner(module.params["timeout"]), module.params, module.check_mode, facts)
    except (CommandError, GpuError, gres.GresError, ScontrolError, OSError) as error:
        module.fail_json(msg=f"gpu_gres: {error}", **facts)
    module.exit_json(**result, **facts)


if __name__ == "__main__":
    main()
