# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Inventory plugin: a cluster from a short topology, from a hosts.json, or from a running Slurm."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster
short_description: A cluster from a short topology, from a hosts.json, or from a running Slurm
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Yields hosts, the groups C(nfs), C(head), C(nodes) and C(gpu), and the variables of this collection's roles.
  - Exactly one of O(hosts), O(hosts_json) and O(scontrol) is the source.
  - Reads files named C(cluster.yml) or C(*.cluster.yml) (also C(.yaml)), other YAML files with O(plugin), and files
    named C(hosts.json). A file without O(plugin), and hosts.json itself, need the plugin in C(enable_plugins) of the
    section C([inventory]) of ansible.cfg, before C(yaml). A file of such a name that is an inventory as C(yaml) reads
    it, or names another plugin, is left to that.
  - Bad input yields no host, and an error that names the place and ends the command. Ansible itself would go on with an
    empty inventory; where C(any_unparsed_is_failed) in the same section is said to be C(false), it does.
  - The cache is for O(scontrol) only; the other sources are files.
requirements:
  - netaddr, on the control host
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [aicluster.slurm.cluster]
  hosts:
    description:
      - A topology. Host lists as Slurm writes them (C(node[01-64]), or C(node[01-64].lab.local) with a domain, which
        Slurm does not see), each with a mapping of what its hosts have.
      - C(roles) is a list of C(nfs), C(head), C(nodes) and C(gpu); the default is C([nodes]). A host in C(gpu) is in
        C(nodes), too.
      - C(address) is an address from which the hosts are counted up, a network from whose first one they are,
        or an address for each host, as a list or as C(10.0.1.[1-64]). Without it Ansible connects to the name.
      - C(hardware) has the keys of C(nodes_hardware), C(gres) is one or more records of C(gpu_devices). C(features) and
        C(weight) are those of Slurm. What is not declared is detected.
      - C(groups) is a list of further groups, C(vars) holds further variables; none that a key here stands for.
    type: dict
  hosts_json:
    description:
      - The path of a hosts.json, relative to this file. Host names to C(ipv4), C(labels) and C(groups) or C(roles).
      - Of the labels only those that are C(enable) count. C(spark-worker) adds the group C(label_spark_worker) and the
        feature C(spark-worker).
    type: str
  role_groups:
    description:
      - For O(hosts_json), the groups of a role, over C(master) for head and nfs, C(worker) and C(manager) for nodes,
        C(slave) for none. What is in C(gpu) is in C(nodes), too.
      - Where no role is for both, a head is in C(nodes) only where no other host is.
    type: dict
    default: {}
  scontrol:
    description:
      - The command that asks a running Slurm, such as V(scontrol) or V(ssh head0 scontrol), as a list or as a text that
        is split as a shell would.
      - Each node is in C(nodes), in C(gpu) where it has any, in C(slurm_partition_NAME), C(slurm_state_WORD) for each
        word of its state, C(slurm_feature_NAME), C(slurm_gres_NAME) and C(slurm_gres_NAME_TYPE); the controllers are in
        C(head). A node or controller with the name of such a group is the host C(slurm_NAME), with C(nodes_name).
      - Variables are C(slurm_features), C(slurm_gres), C(slurm_partitions), C(slurm_reason), C(slurm_state) and
        C(slurm_version).
    type: raw
  timeout:
    description: How many seconds O(scontrol) may take, for O(scontrol) only.
    type: float
    default: 60
  name:
    description: The name of the cluster, C(cluster_name).
    type: str
  network:
    description:
      - The cluster's network as a CIDR, C(cluster_network). Every address of O(hosts) and O(hosts_json) has to be
        inside.
    type: str
  partitions:
    description:
      - Partitions by name, with Slurm's own keys, C(cluster_partitions). C(Nodes) names nodes of this file, node sets
        of C(cluster_nodesets) in O(vars), or C(ALL). With names from elsewhere, such as other files, write
        C(cluster_partitions) into group_vars instead.
    type: dict
  vars:
    description: Further variables of all hosts; none that an option here stands for.
    type: dict
    default: {}
"""

EXAMPLES = r"""
# lab.cluster.yml: a head, a storage server, 64 CPU nodes and 8 GPU nodes
plugin: aicluster.slurm.cluster
name: lab
network: 10.0.0.0/16
hosts:
  storage1: {roles: nfs, address: 10.0.0.2}
  head1: {roles: head, address: 10.0.0.3}
  cpu[01-64]: {address: 10.0.1.1}
  gpu[1-8]:
    roles: gpu
    address: 10.0.2.1
    features: [h100]
partitions:
  main: {Nodes: "cpu[01-64]", Default: true}
  gpu: {Nodes: "gpu[1-8]", MaxTime: "2-00:00:00"}

# old.cluster.yml, the hosts.json of an older system:
#   plugin: aicluster.slurm.cluster
#   hosts_json: hosts.json

# live.cluster.yml, for `ansible slurm_state_down -i live.cluster.yml -m ping`:
#   plugin: aicluster.slurm.cluster
#   scontrol: ssh head1 scontrol
#   keyed_groups:
#     - {key: slurm_version, prefix: slurm}
"""

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import HAS_NETADDR
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts_json import check_role_groups, read_hosts_json
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import (
    Inventory,
    InventoryError,
    check_keys,
    is_plain,
    mapping,
    refusal,
    safe_group,
    short,
)
from ansible_collections.aicluster.slurm.plugins.plugin_utils.partitions import check_partitions, node_names
from ansible_collections.aicluster.slurm.plugins.plugin_utils.running import command_runner, read_running
from ansible_collections.aicluster.slurm.plugins.plugin_utils.topology import (
    OWN_VARIABLES,
    check_network,
    check_variables,
    duplicate_keys,
    read_topology,
)

NAME = "aicluster.slurm.cluster"
SOURCES = ("hosts", "hosts_json", "scontrol")
ONLY_WITH = {"role_groups": "hosts_json", "timeout": "scontrol"}
MAX_TIMEOUT = 86400
KINDS = {"bool": "true or false", "float": "a number", "int": "a whole number", "list": "a list"}
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|.*\{\{.*")
OUR_FILE = re.compile(r"(.+\.)?cluster\.ya?ml")
OUR_PLUGIN = re.compile(rb"^plugin:\s*[\"']?aicluster\.slurm\.cluster\b", re.MULTILINE)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc] # ansible-core has no types
    """The plugin: options in, hosts and groups out; what it makes of them is in plugin_utils."""

    NAME = NAME

    def verify_file(self, path: str) -> bool:
        """Whether this file is for us: by its name, or because it says so."""
        if not super().verify_file(path) or os.path.isdir(path):
            return False
        name = os.path.basename(path)
        if name == "hosts.json" or OUR_FILE.fullmatch(name):
            return True
        if not name.endswith((".yml", ".yaml")):
            return False
        with open(path, "rb") as file:
            return bool(OUR_PLUGIN.search(file.read()))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory, or end the program: an inventory that looks empty is worse than none."""
        super().parse(inventory, loader, path, cache)
        try:
            self._fill(path, cache)
        except Exception as error:
            if self._is_for_others(path):
                raise
            if not isinstance(error, AnsibleError):
                error = AnsibleParserError(f"{path}: {error!r}")
            self.display.error(error)
            unparsed, origin = constants.config.get_config_value_and_origin("INVENTORY_ANY_UNPARSED_IS_FAILED")
            if not unparsed and origin != "default":
                raise error from None
            # Whatever else were raised, Ansible would ask the next plugin, and some find hardly a file without sense.
            raise SystemExit(1) from error

    def _fill(self, path: str, cache: bool) -> None:
        """Fill the inventory; nothing of it changes where the input is bad."""
        if not HAS_NETADDR:
            raise AnsibleError("control host: Python library netaddr: found none; accepted: pip install netaddr")
        config = self._load(path)
        try:
            self._use(config, path)
            found = self._read_source(path, cache)
            # What users of Slurm wrote, such as a Reason, is no template; all else is of the inventory's owner.
            self.trusted_by_default = "scontrol" not in config
            self._refuse_shared_names(found)
            self._populate(found)
            self._construct(found)
        except InventoryError as error:
            raise AnsibleParserError(f"{path}: {error}", obj=error.source) from None

    def _is_for_others(self, path: str) -> bool:
        """Whether it is another plugin that this file is for: it says so, or has groups at the top."""
        config = None
        with suppress(AnsibleError, ValueError, RecursionError):
            config = self.loader.load_from_file(path, cache="none")
        if isinstance(config, Mapping) and isinstance(config.get("plugin"), str):
            return not get_close_matches(config["plugin"], [NAME], cutoff=0.8)
        return is_plain(config) and not set(config or ()) & set(self.option_definitions)

    def _load(self, path: str) -> Mapping[str, Any]:
        """What the file says."""
        try:
            text = self._text_of(path)
            odd = not path.endswith(".json") and yaml.reader.Reader.NON_PRINTABLE.search(text)
            if odd:
                line = text.count("\n", 0, odd.start()) + 1
                raise refusal(f"line {line}", f"the character {odd[0]!r}", "text without control characters")
        except InventoryError as error:  # Ansible would read on, and complain of something else
            raise AnsibleParserError(f"{path}: {error}") from None
        if path.endswith(".json"):
            return {"hosts_json": os.path.basename(path)}
        try:
            try:
                config = self.loader.load_from_file(path, cache="none", trusted_as_template=True)
            except TypeError:  # before ansible-core 2.19, which trusts every template
                config = self.loader.load_from_file(path, cache="none")
        except AnsibleError as error:
            raise AnsibleParserError(f"{path}: {error}", obj=error.obj) from None
        except (ValueError, RecursionError) as error:
            raise AnsibleParserError(f"{path}: found no YAML ({error}); accepted: a topology") from None
        if not isinstance(config, Mapping):
            found = refusal("top level", short(config), f"a mapping with one of {', '.join(SOURCES)}")
            raise AnsibleParserError(f"{path}: {found}", obj=config)
        return config

    def _use(self, config: Mapping[str, Any], path: str) -> None:
        """Make options of what the file says."""
        self._refuse_duplicates(path)
        definitions = self.option_definitions
        self._check(config, definitions)
        try:
            self.set_options(direct={"plugin": NAME, **config}, var_options=self._vars)
            if self.get_option("cache"):
                self.load_cache_plugin()
        except AnsibleError as error:
            for key in config:
                kind = definitions[key].get("type")
                if kind in KINDS and re.search(rf"\b{key}\b", str(error)):
                    raise refusal(key, short(config[key]), KINDS[kind], config[key]) from None
            raise InventoryError(str(error)) from None
        timeout = self.get_option("timeout")
        if not 0 < timeout <= MAX_TIMEOUT:
            raise refusal("timeout", timeout, f"seconds, more than 0 and up to {MAX_TIMEOUT}", config["timeout"])

    @staticmethod
    def _check(config: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> None:
        """InventoryError for what core would take for something else, or refuse without a place."""
        check_keys(config, definitions, "top level")
        for key, value in config.items():
            kind = definitions[key].get("type")
            if kind == "dict":
                mapping(value, key)
            elif kind == "str" and value is not None and not isinstance(value, str):
                raise refusal(key, short(value), "a text, in quotes where it is a number or a word such as yes", value)
        if config.get("plugin", NAME) != NAME:
            raise refusal("plugin", short(config["plugin"]), NAME, config["plugin"])
        given = [key for key in SOURCES if key in config]
        if len(given) != 1:
            raise refusal("top level", " and ".join(given) or "no source", f"one of {', '.join(SOURCES)}")
        if given != ["hosts"] and config[given[0]] is None:
            raise refusal(given[0], "nothing", "a path" if given == ["hosts_json"] else "a command")
        for key, source in ONLY_WITH.items():
            if key in config and given != [source]:
                raise refusal("top level", f"{key} with {given[0]}", f"{key} with {source} only", key)

    def _refuse_duplicates(self, path: str) -> None:
        """InventoryError for a key that stands in the file twice; Ansible would only warn."""
        text = self._text_of(path)
        if not text.startswith("$ANSIBLE_VAULT") and not path.endswith(".json"):
            for key, line in duplicate_keys(text):
                raise refusal(f"line {line}", f"the key {key} again", "every key once")

    def _read_source(self, path: str, cache: bool) -> Inventory:
        """The hosts and groups of the one source, with the shared variables."""
        shared = dict(self.get_option("vars") or {})
        check_variables(shared, "vars", OWN_VARIABLES)
        network, name = check_network(self.get_option("network")), self.get_option("name")
        if name and not CLUSTER_NAME.fullmatch(name):
            raise refusal("name", short(name), "letters, digits, '_', '-' and '.'", name)
        partitions = self.get_option("partitions") or {}
        options = {"name": name, "network": network, "partitions": partitions}
        shared = {**{f"cluster_{key}": value for key, value in options.items() if value}, **shared}
        if self.get_option("hosts_json") is not None:
            file = os.path.join(os.path.dirname(path), self.get_option("hosts_json"))
            found = self._read_hosts_json(file, path, network)
        elif self.get_option("scontrol") is not None:
            found = self._read_running(path, cache)
        else:
            found = read_topology(self.get_option("hosts"), network)
        if partitions:
            nodes, nodesets = node_names(found.hosts, shared), mapping(shared.get("cluster_nodesets"), "vars")
            check_partitions(partitions, nodes if nodes is None else nodes.union(map(str, nodesets)))
        return found._replace(variables=shared)

    def _read_hosts_json(self, path: str, named_in: str, network: str) -> Inventory:
        """What a hosts.json says; where another file names it, an error names it as well."""
        role_groups = check_role_groups(self.get_option("role_groups"))
        try:
            return read_hosts_json(self._text_of(path), role_groups, network)
        except InventoryError as error:
            raise error if path == named_in else InventoryError(f"hosts_json: {path}: {error}") from None

    @staticmethod
    def _text_of(path: str) -> str:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise refusal("file", error.strerror, "a text file that can be read") from None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"bytes that are no UTF-8, {data[error.start : error.start + 1]!r}"
            raise refusal(f"line {line}", found, "text in UTF-8") from None

    def _read_running(self, path: str, cache: bool) -> Inventory:
        """The running Slurm's answer, or the one in the cache."""
        command = self.get_option("scontrol")
        try:
            words = shlex.split(command) if isinstance(command, str) else command
        except ValueError as error:
            raise refusal("scontrol", f"{short(command)} ({error})", "quotes in pairs", command) from None
        listed = words if isinstance(words, list) else []
        if not listed or not all(isinstance(word, str) and word.isprintable() for word in listed):
            raise refusal("scontrol", short(command), "a command such as ssh head0 scontrol", command)
        command = [str(word) for word in listed]  # without Ansible's tags
        # Another command may ask another Slurm.
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}"
        use, found = self.get_option("cache"), None
        if use and cache:
            with suppress(KeyError):  # nothing there, or too old
                found = Inventory(**self._cache[key])
        if not found:
            found = read_running(command_runner(command, self.get_option("timeout")))
            if use:
                self._cache[key] = found._asdict()
        for host, variables in found.hosts.items():
            if "nodes_name" in variables:
                name = variables["nodes_name"]
                self.display.warning(f"{path}: {name} is the name of a group, too; the machine is the host {host}")
        return found

    def _refuse_shared_names(self, found: Inventory) -> None:
        """InventoryError for a host with the name of a group; Ansible would take it for the group."""
        for group in self.get_option("groups") or ():
            if {str(group), safe_group(str(group))} & set(found.hosts):
                raise refusal(f"groups.{group}", "the name of a host", "a name that no host has", group)
        for name in set(found.hosts) & set(self.inventory.groups):
            raise refusal(f"host {name}", "the name of a group", "a name that no group has")

    def _populate(self, found: Inventory) -> None:
        for group in found.groups:
            self.inventory.add_group(group)
        for name, value in found.variables.items():
            self.inventory.set_variable("all", name, value)
        # Ansible copies and marks every value that it is given. Hosts of one list share theirs, so one copy will do.
        kept: dict[int, Any] = {}
        for name, variables in found.hosts.items():
            self.inventory.add_host(name)
            host = self.inventory.get_host(name)
            for key, value in variables.items():
                if id(value) in kept:
                    host.set_variable(key, kept[id(value)])
                else:
                    self.inventory.set_variable(name, key, value if self.trusted_by_default else wrap_var(value))
                    kept[id(value)] = host.vars[key]
        for group, members in found.groups.items():
            for host in members:
                self.inventory.add_child(group, host)

    def _construct(self, found: Inventory) -> None:
        """What compose, groups and keyed_groups ask for; core compiles each expression again for every host."""
        compose, groups = self.get_option("compose"), self.get_option("groups")
        keyed, strict = self.get_option("keyed_groups"), self.get_option("strict")
        if not (compose or groups or keyed):
            return
        try:
            for host in found.hosts:
                self._set_composite_vars(compose, self._variables_of(host, found), host, strict)
                variables = self._variables_of(host, found)
                self._add_host_to_composed_groups(groups, variables, host, strict, fetch_hostvars=False)
                self._add_host_to_keyed_groups(keyed, variables, host, strict, fetch_hostvars=False)
        except AnsibleError as error:
            raise InventoryError(str(error)) from None
        finally:
            self._refuse_shared_names(found)  # of keyed_groups; core says at best that a group cannot be in itself

    def _variables_of(self, host: str, found: Inventory) -> dict[str, Any]:
        return {**found.variables, **self.inventory.get_host(host).get_vars()}
