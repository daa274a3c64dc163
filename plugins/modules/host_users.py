#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""All groups and users that a cluster wants on a host, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_users
short_description: All groups and users that a cluster wants on a host, in one go
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Takes all accounts at once, because what costs is to reach a host and to read who is there. Only what differs is
    changed. Accounts that are not named are left alone.
  - Everything is checked before anything changes. A number that is somebody else's is refused, and so is another number
    for an account that owns files or runs processes, because they would belong to nobody.
  - Keys and passwords of those who go are taken first, what those who come may do is given last.
  - When something cannot be changed, all the rest is; then the module fails and says what, in the words of the tool.
options:
  groups:
    description: Groups.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      gid:
        description: Its number.
        type: int
        required: true
      state:
        description: Whether it is there.
        type: str
        choices: [present, absent]
        default: present
  users:
    description: Users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      uid:
        description: Its number.
        type: int
        required: true
      group:
        description: The primary group. It has to be there, or among O(groups).
        type: str
        required: true
      groups:
        description: The further groups. Without it they are left alone.
        type: list
        elements: str
      groups_exclusive:
        description: Whether the user is in none but O(users[].groups).
        type: bool
        default: true
      home:
        description: The home. When it changes, what was in the old one stays there, and the new one is made.
        type: path
        required: true
      create_home:
        description:
          - Whether the user gets the home made. On a share the server makes it.
          - One that is gone is made again, unless it was on another host. One that belongs to another uid is refused.
        type: bool
        default: true
      shell:
        description: The login shell.
        type: path
        default: /bin/bash
      comment:
        description: The full name.
        type: str
        default: ""
      authorized_keys:
        description:
          - Public keys that are admitted, as lines of sshd(8), in a file of O(keys_folder). Without any the file goes.
          - Without this option it is left alone, unless the user is no longer let in.
        type: list
        elements: str
      password:
        description:
          - The password. Without it a password is left alone.
          - Which ones were found to be right is noted beside O(record), so that not each of them is tried at each run.
        type: str
      password_lock:
        description: Whether a password that the account has is locked.
        type: bool
        default: false
      state:
        description:
          - V(locked) lets nobody in, by no way, and keeps all else as it is until the lock is taken off.
          - V(absent) removes the account and keeps the home.
          - While a process of the user runs, V(absent) locks the account, and the module warns and names the processes.
            The account goes at the next run after they have ended.
          - An account of that name with another number is not ours, so V(absent) leaves it alone.
        type: str
        choices: [present, locked, absent]
        default: present
  keys_folder:
    description: Where the keys are, in a file for each user, which belongs to root. A line of sshd_config(5) names it.
    type: path
    default: /etc/ssh/authorized_keys.d
  record:
    description:
      - A file with the users who were made. One of them who is not among O(users) any more is left alone, and the
        module warns of that.
    type: path
    default: /var/lib/aicluster/people
  key_owner:
    description:
      - A user who has an ed25519 key of this host's own, named C(key_) and the host's name, which nobody else can read.
      - It lies off the share, because on a shared home every host could use the keys of all.
      - A key that is there is not replaced; where its public half is gone, that is worked out again, and one of
        another user is given to this one. The private key does not leave the host.
    type: str
  key_anew:
    description: Whether that key is made anew, and the one from before removed.
    type: bool
    default: false
  key_folder:
    description: Where that key is.
    type: path
    default: /etc/ssh/cluster
  report_jobs:
    description: Whether Slurm is asked for jobs of those who are locked or absent; they run on.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Says what differs, and never shows a password.
    support: full
  facts:
    description:
      - With O(key_owner), sets C(cluster_ssh_key) with C(path) and C(public), and C(ssh_host_key_ed25519_public).
    support: full
  idempotent:
    description: Changes nothing when everything is as it should be.
    support: full
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Have the people of the lab, and nobody who left
  aicluster.slurm.host_users:
    groups:
      - {name: lab, gid: 20000}
    users:
      - name: ada
        uid: 20001
        group: lab
        home: /data/home/ada
        create_home: false
        authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFr0mTheLab ada@laptop]
      - {name: bob, uid: 20002, group: lab, home: /data/home/bob, state: locked}
      - {name: eve, uid: 20003, group: lab, home: /data/home/eve, state: absent}
"""

RETURN = r"""
found:
  description: What was not as it should be.
  type: list
  elements: str
  returned: success
  sample: [user ada is not there]
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[groupadd, --gid, '20000', lab]]
left:
  description: Those who were made at an earlier time and are not among O(users) now. They are left alone.
  type: list
  elements: str
  returned: success
  sample: [joe]
waiting:
  description: Those who are absent, and locked until the next run, because processes of theirs run.
  type: list
  elements: str
  returned: success
  sample: [eve]
keyed:
  description: Those for whom keys are given, also an empty list of them.
  type: list
  elements: str
  returned: success
  sample: [ada]
kept:
  description: Those who have a file of keys from an earlier time, while nothing is said about their keys now.
  type: list
  elements: str
  returned: success
  sample: [joe]
jobs:
  description: Jobs of those who are locked or absent, each with C(id), C(user), C(state) and C(nodes).
  type: list
  elements: dict
  returned: success
  sample: [{id: '17', user: bob, state: RUNNING, nodes: node1}]
"""

import os
from functools import lru_cache
from typing import Any, Callable, Collection, Mapping, NamedTuple, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import accounts, homes, passwords, people, ssh
from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import (
    ABSENT,
    LOCKED,
    PRESENT,
    AccountsError,
    Database,
    Group,
    Move,
    Step,
    User,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Runner,
    execute,
    module_runner,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.host_files import (
    Absent,
    Difference,
    File,
    Folder,
    Wanted,
    differences,
    write,
)

FILES = ("/etc/passwd", "/etc/group", "/etc/shadow")
PROC = "/proc"
MOUNTS = "/proc/self/mounts"


class Plan(NamedTuple):
    """All that is not as it should be."""

    revoked: list[Difference]
    """Files of keys that go."""
    steps: list[Step]
    passwords: dict[str, str]
    """Those that differ, by user."""
    admitted: list[Difference]
    """Files of keys that come or change, and their folder."""


def processes() -> dict[int, list[str]]:
    """The processes of this host by the number of their user, each with its number and name."""
    found: dict[int, list[str]] = {}
    for number in filter(str.isdigit, os.listdir(PROC)):
        try:
            uid, name = os.stat(f"{PROC}/{number}").st_uid, read_whole(f"{PROC}/{number}/comm").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        found.setdefault(uid, []).append(f"{number} ({name})")
    return found


def refuse(
    run: Runner, moves: Sequence[Move], found: Database, running: Callable[[], Mapping[int, Sequence[str]]]
) -> None:
    """All that belongs to numbers that would change, in one AccountsError."""
    wrong = []
    for move in moves:
        places = [entry.home for name, entry in found.users.items() if name == move.name and os.path.isdir(entry.home)]
        there = running().get(move.before, ()) if move.kind == "user" else ()
        if there:
            wrong.append(f"{move.kind} {move.name}: found the process {there[0]} with the number {move.before}")
        else:
            files = run(accounts.owned(move, places, read_whole(MOUNTS))).stdout.splitlines()
            wrong += [f"{move.kind} {move.name}: found {path} with the number {move.before}" for path in files[:1]]
    if wrong:
        raise AccountsError("\n".join(f"{text}; accepted: that number, or nothing that it owns" for text in wrong))


def look(
    users: Sequence[User],
    groups: Sequence[Group],
    found: Database,
    folder: str,
    busy: Collection[str],
    known: Collection[str],
    amiss: tuple[Collection[str], Collection[str]],
) -> Plan:
    """All that is not as it should be; `known` have the right password, `amiss` are as homes.amiss tells them.

    Raises OSError and ValueError.
    """
    pairs = passwords.pairs_of(users, found)
    wrong = {
        user.name: user.password
        for user in users
        if user.state == PRESENT and user.password is not None
        if user.name not in pairs or (user.name not in known and not passwords.is_right(*pairs[user.name]))
    }
    files = [(f"{folder}/{user.name}", accounts.keys_text(user)) for user in users if accounts.keys_are_ours(user)]
    # sshd reads the keys as the user who comes, and would see none in a folder that is closed.
    place: list[Wanted] = [Folder(folder)] if os.path.isdir(folder) else []
    return Plan(
        differences([Absent(path) for path, text in files if not text]),
        accounts.plan(users, groups, found, wrong, busy, *amiss),
        wrong,
        differences([*place, *(File(path, text) for path, text in files if text)]),
    )


def keys_from_before(folder: str, names: Sequence[str]) -> list[str]:
    """Those of the users who have a file of keys that we wrote."""
    return [name for name in names if read_whole(f"{folder}/{name}").startswith(accounts.KEYS_HEADER)]


def without_shell(users: Sequence[User]) -> list[str]:
    """Whom sshd would refuse for the shell."""
    return [
        f"user {user.name}: found the shell {user.shell}, which is not there; accepted: one that is"
        for user in users
        if user.state == PRESENT and not os.path.exists(user.shell)
    ]


def carry_out(plan: Plan, run: Runner) -> tuple[list[str], set[str]]:
    """Make it so, as far as it can be; what could not, and whose home may be missing for that. Raises OSError."""
    failed: list[str] = []
    homeless: set[str] = set()
    for difference in plan.revoked:
        write(difference)
    lines = "".join(f"{name}:{password}\n" for name, password in plan.passwords.items())
    for step in plan.steps:
        result = execute(step.command, lines) if step.command == accounts.CHPASSWD else run(step.command)
        if result.rc and not (step.command[0] == "groupdel" and result.rc == accounts.NO_SUCH_GROUP):
            failed.append(f"{step.finding}: {CommandError(result)}")
            homeless.add(step.home_of)
    for difference in plan.admitted:
        write(difference)
    return failed, homeless


def own_key(run: Runner, params: Mapping[str, Any], check_mode: bool, failed: list[str]) -> ssh.Outcome:
    """Have the user's key of this host's own, by the options for it; `failed` hears of a failure."""
    outcome, owner = ssh.Outcome([], [], {}), params["key_owner"]
    if owner:
        try:
            outcome = ssh.have_key(run, params["key_folder"], owner, params["key_anew"], check_mode)
        except (KeyError, ValueError, OSError, CommandError) as error:
            failed.append(f"key of {owner}: {error}")
    return outcome._replace(found=[f"key of {owner}: {text}" for text in outcome.found])


def warnings(
    jobs: Sequence[Mapping[str, str]], busy: Mapping[str, Sequence[str]], left: Sequence[str], kept: Sequence[str]
) -> list[str]:
    """What an admin is to know: of jobs and processes of those who go, and of who is in no list any more."""
    return [
        *(
            f"job {job['id']} of {job['user']}, who is no longer let in, is {job['state']} {job['nodes']}".rstrip()
            for job in jobs
        ),
        *(
            f"user {name} has {_some(texts)} on {os.uname().nodename}, so the account is locked,"
            " and goes at the next run after they have ended"
            for name, texts in busy.items()
        ),
        *(
            f"user {leaver} was made here and is not in the list any more, so account and keys stay as they are;"
            " state: locked or absent says what becomes of them"
            for leaver in left
        ),
        *(
            f"user {keeper}: authorized_keys is not in the list any more, so the keys stay as they are;"
            " an empty list takes them away"
            for keeper in kept
            if keeper not in left
        ),
    ]


def manage(module: AnsibleModule, run: Runner) -> tuple[dict[str, Any], list[str]]:
    """Have the users as the options say; the result, and what could not be done.

    Raises AccountsError before anything changes; ValueError, OSError, CommandError.
    """
    params = module.params
    groups = [Group(each["name"], each["gid"], each["state"] == PRESENT) for each in params["groups"]]
    users = [_user(each) for each in params["users"]]
    found = accounts.parse(*map(read_whole, FILES))
    running = lru_cache(maxsize=None)(processes)
    going = [user for user in users if user.state == ABSENT and accounts.ours(user, found)]
    busy = {user.name: running()[user.uid] for user in going if user.uid in running()}
    refuse(run, accounts.check(users, groups, found, busy), found, running)
    homes.refuse(users, found)
    recorded = people.recorded(read_whole(params["record"]))
    left = accounts.left(users, found, recorded)
    verified = os.path.join(os.path.dirname(params["record"]), "passwords")
    known = passwords.unchanged(passwords.pairs_of(users, found), read_whole(verified))
    missing = homes.amiss(users, found, recorded, read_whole(MOUNTS))
    plan = look(users, groups, found, params["keys_folder"], busy, known, missing)
    there = accounts.there(users, left)
    record = differences([File(params["record"], people.record(there))])
    unsaid = [user.name for user in users if not accounts.keys_are_ours(user)]
    kept = keys_from_before(params["keys_folder"], [*left, *unsaid])
    jobs = _jobs(module, run, users, found) if params["report_jobs"] else []
    failed: list[str] = []
    if not module.check_mode:
        failed, without = carry_out(plan, run)
        # Whose home could not be made is looked at again by the next run.
        made = {name: uid for name, uid in there.items() if name not in without}
        for difference in differences([File(params["record"], people.record(made))]):
            write(difference)
        before, after = (passwords.pairs_of(users, each) for each in (found, accounts.parse(*map(read_whole, FILES))))
        # What chpasswd left as it was is none that is known to be right.
        wrong = {name for name in plan.passwords if after.get(name) == before.get(name)}
        passwords.remember(verified, {name: pair for name, pair in after.items() if name not in wrong}, known)
    key = own_key(run, params, module.check_mode, failed)
    # A package may bring it in the real run.
    failed += [] if module.check_mode else without_shell(users)
    findings = [*(step.finding for step in plan.steps), *key.found]
    changed_files = [*plan.revoked, *plan.admitted, *record]
    files = [difference.wanted.path for difference in changed_files]
    return {
        "changed": bool(findings or files),
        "found": [*findings, *files],
        "commands": [*(step.command for step in plan.steps), *key.commands],
        "left": sorted(left),
        "waiting": sorted(busy),
        "keyed": [user.name for user in users if user.state == PRESENT and user.keys is not None],
        "kept": kept,
        "jobs": jobs,
        "warnings": warnings(jobs, busy, [*left], kept),
        "ansible_facts": key.facts,
        "diff": [
            *([{"header": "accounts", "before": "\n".join([*findings, ""]), "after": ""}] if findings else []),
            *(
                {"before_header": path, "after_header": path, "before": difference.before, "after": difference.after}
                for path, difference in zip(files, changed_files)
            ),
        ],
    }, failed


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    number = {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "groups": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": text,
                    "gid": number,
                    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
                },
            },
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": text,
                    "uid": number,
                    "group": text,
                    "groups": {"type": "list", "elements": "str"},
                    "groups_exclusive": {"type": "bool", "default": True},
                    "home": {"type": "path", "required": True},
                    "create_home": {"type": "bool", "default": True},
                    "shell": {"type": "path", "default": "/bin/bash"},
                    "comment": {"type": "str", "default": ""},
                    "authorized_keys": {"type": "list", "elements": "str", "no_log": False},
                    "password": {"type": "str", "no_log": True},
                    "password_lock": {"type": "bool", "default": False, "no_log": False},
                    "state": {"type": "str", "choices": list(accounts.STATES), "default": PRESENT},
                },
            },
            "keys_folder": {"type": "path", "default": "/etc/ssh/authorized_keys.d", "no_log": False},
            "record": {"type": "path", "default": people.RECORD},
            "key_owner": {"type": "str", "no_log": False},
            "key_anew": {"type": "bool", "default": False, "no_log": False},
            "key_folder": {"type": "path", "default": ssh.FOLDER, "no_log": False},
            "report_jobs": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result, failed = manage(module, module_runner(module))
    except (AccountsError, ValueError, OSError, CommandError) as error:
        module.fail_json(msg=f"host_users: {error}")
    for warning in result.pop("warnings"):
        module.warn(warning)
    if failed:
        module.fail_json(msg="\n".join(["host_users: all others are as they should be.", *failed]), **result)
    module.exit_json(**result)


def _some(processes: Sequence[str]) -> str:
    more = f" and {len(processes) - 5} more" if len(processes) > 5 else ""
    return f"the processes {', '.join(processes[:5])}{more}"


def _user(params: dict[str, Any]) -> User:
    fields = {key: params[key] for key in ("name", "uid", "group", "home", "create_home", "shell", "comment")}
    return User(
        **fields,
        groups=None if params["groups"] is None else tuple(params["groups"]),
        only_these=params["groups_exclusive"],
        keys=None if params["authorized_keys"] is None else tuple(params["authorized_keys"]),
        password=params["password"],
        no_password=params["password_lock"],
        state=params["state"],
    )


def _jobs(module: AnsibleModule, run: Runner, users: Sequence[User], found: Database) -> list[dict[str, str]]:
    uids = [user.uid for user in users if user.state in (LOCKED, ABSENT) and accounts.ours(user, found)]
    if not uids or not module.get_bin_path("squeue"):
        return []
    # Without an answer of slurmctld nothing runs that could be told of.
    return accounts.jobs(run(accounts.squeue(uids)).stdout)


if __name__ == "__main__":
    main()
