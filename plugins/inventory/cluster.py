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
    section C([inventory]) of ansible.cfg, before C(yaml).
  - Bad input yields no host, and an error that names the place. Ansible itself goes on with an empty inventory; with
    C(any_unparsed_is_failed) in the same section it does not.
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
      - A topology. Host lists as Slurm writes them (C(node[01-64])), each with a mapping of what its hosts have.
      - C(roles) is a list of C(nfs), C(head), C(nodes) and C(gpu); the default is C([nodes]). A host in C(gpu) is in
        C(nodes), too.
      - C(address) is an address from which the hosts are counted up, a network from whose first one they are,
        or an address for each host, as a list or as C(10.0.1.[1-64]). Without it Ansible connects to the name.
      - C(hardware) has the keys of C(nodes_hardware), C(gres) is one or more records of C(gpu_devices). C(features) and
        C(weight) are those of Slurm. What is not declared is detected.
      - C(groups) is a list of further groups, C(vars) holds further variables.
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
        C(slave) for none.
      - Where no role is for both, a head is in C(nodes) only where no other host is.
    type: dict
    default: {}
  scontrol:
    description:
      - The command that asks a running Slurm, such as V(scontrol) or V(ssh head0 scontrol), as a list or as a text with
        blanks.
      - Each node is in C(nodes), in C(gpu) where it has any, in C(slurm_partition_NAME), C(slurm_state_WORD) for each
        word of its state, C(slurm_feature_NAME), C(slurm_gres_NAME) and C(slurm_gres_NAME_TYPE); the controllers are in
        C(head).
      - Variables are C(slurm_features), C(slurm_gres), C(slurm_partitions), C(slurm_reason), C(slurm_state) and
        C(slurm_version).
    type: raw
  timeout:
    description: How many seconds O(scontrol) may take.
    type: float
    default: 60
  name:
    description: The name of the cluster, C(cluster_name).
    type: str
  network:
    description: The cluster's network as a CIDR, C(cluster_network). Every declared address has to be inside.
    type: str
  partitions:
    description: Partitions by name, with Slurm's own keys, C(cluster_partitions).
    type: dict
  vars:
    description: Further variables of all hosts.
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
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import HAS_NETADDR
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts_json import check_role_groups, read_hosts_json
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import (
    Inventory,
    InventoryError,
    check_keys,
    mapping,
    refusal,
    short,
)
from ansible_collections.aicluster.slurm.plugins.plugin_utils.running import command_runner, read_running
from ansible_collections.aicluster.slurm.plugins.plugin_utils.topology import (
    check_network,
    check_variables,
    duplicate_keys,
    read_topology,
)

NAME = "aicluster.slurm.cluster"
SOURCES = ("hosts", "hosts_json", "scontrol")
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
        """Fill the inventory; nothing of it changes where the input is bad."""
        super().parse(inventory, loader, path, cache)
        if not HAS_NETADDR:
            raise AnsibleError("control host: Python library netaddr: found none; accepted: pip install netaddr")
        config = self._load(path)
        try:
            self._use(config, path)
            found = self._read_source(path, cache)
        except InventoryError as error:
            if "plugin" not in config:
                # Ansible asks the plugin yaml next, which finds no host, and then our error would stay unheard.
                self.display.error(f"{path}: {error}")
            raise AnsibleParserError(f"{path}: {error}", obj=error.source) from None
        # What a user of Slurm wrote, such as a Reason, is no template; all else was written by the inventory's owner.
        self.trusted_by_default = "scontrol" not in config
        self._populate(found)
        self._construct(found)

    def _load(self, path: str) -> Mapping[str, Any]:
        """What the file says."""
        try:
            self._text_of(path)
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
        check_keys(config, definitions, "top level")
        for key, value in config.items():
            kind = definitions[key].get("type")
            if kind == "dict":
                mapping(value, key)
            elif kind == "str" and isinstance(value, (Mapping, list)):
                raise refusal(key, short(value), "a text", value)
        given = [key for key in SOURCES if key in config]
        if len(given) != 1:
            raise refusal("top level", " and ".join(given) or "no source", f"one of {', '.join(SOURCES)}")
        if given != ["hosts"] and config[given[0]] is None:
            raise refusal(given[0], "nothing", "a path" if given == ["hosts_json"] else "a command")
        try:
            self.set_options(direct={"plugin": NAME, **config}, var_options=self._vars)
            if self.get_option("cache"):
                self.load_cache_plugin()
        except AnsibleError as error:
            raise InventoryError(str(error)) from None

    def _refuse_duplicates(self, path: str) -> None:
        """InventoryError for a key that stands in the file twice; Ansible would only warn."""
        text = self._text_of(path)
        if not text.startswith("$ANSIBLE_VAULT") and not path.endswith(".json"):
            for key, line in duplicate_keys(text):
                raise refusal(f"line {line}", f"the key {key} again", "every key once")

    def _read_source(self, path: str, cache: bool) -> Inventory:
        """The hosts and groups of the one source, with the shared variables."""
        shared = dict(self.get_option("vars") or {})
        check_variables(shared, "vars")
        network = check_network(self.get_option("network"))
        options = {"name": self.get_option("name"), "network": network, "partitions": self.get_option("partitions")}
        shared = {**{f"cluster_{key}": value for key, value in options.items() if value}, **shared}
        if self.get_option("hosts_json") is not None:
            found = self._read_hosts_json(os.path.join(os.path.dirname(path), self.get_option("hosts_json")), path)
        elif self.get_option("scontrol") is not None:
            found = self._read_running(path, cache)
        else:
            found = read_topology(self.get_option("hosts"), network)
        return found._replace(variables=shared)

    def _read_hosts_json(self, path: str, named_in: str) -> Inventory:
        """What a hosts.json says; where another file names it, an error names it as well."""
        role_groups = check_role_groups(self.get_option("role_groups"))
        try:
            return read_hosts_json(self._text_of(path), role_groups)
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
        command = command.split() if isinstance(command, str) else command
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            raise refusal("scontrol", short(command), "a command such as ssh head0 scontrol", command)
        command = [str(word) for word in command]  # without Ansible's tags
        # Another command may ask another Slurm.
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}"
        use = self.get_option("cache")
        if use and cache:
            try:
                return Inventory(**self._cache[key])
            except KeyError:  # nothing there, or too old
                pass
        found = read_running(command_runner(command, self.get_option("timeout")))
        if use:
            self._cache[key] = found._asdict()
        return found

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
        for host in found.hosts:
            self._set_composite_vars(compose, self._variables_of(host, found), host, strict)
            variables = self._variables_of(host, found)
            self._add_host_to_composed_groups(groups, variables, host, strict, fetch_hostvars=False)
            self._add_host_to_keyed_groups(keyed, variables, host, strict, fetch_hostvars=False)

    def _variables_of(self, host: str, found: Inventory) -> dict[str, Any]:
        return {**found.variables, **self.inventory.get_host(host).get_vars()}
