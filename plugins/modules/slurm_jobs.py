#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Jobs through Slurm, one after the other, each with a time limit and a verdict."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_jobs
short_description: Jobs through Slurm, one after the other, each with a verdict
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Submits jobs as an ordinary user, waits for each, and says how it ended. A job that fails does not keep the others
    from running, and does not make this module fail, so look at RV(rows).
  - A full queue makes a job wait. A job that Slurm will not start, because nodes are down or somebody holds it, is
    cancelled and reported.
  - While it waits, it shows which job it is at. A run that was broken off cancels the job that it left behind.
requirements:
  - The client programs of Slurm
options:
  jobs:
    description: The jobs.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A short name, of letters, digits and C(-_.).
        type: str
        required: true
      title:
        description: What it shows or makes, for people.
        type: str
        required: true
      script:
        description: The batch script. Exit code 77, with a line C(SKIP:), means that it cannot be run here.
        type: str
        default: ""
      options:
        description: Options of sbatch(1).
        type: list
        elements: str
        default: []
      seconds:
        description: How long it may run.
        type: int
        default: 300
      check:
        description: Shell text that runs as the user in O(folder) after the job, and fails it by its exit code.
        type: str
        default: ""
      stamp:
        description: A file that the script writes last. Where it has O(jobs[].content) already, the job is not needed.
        type: str
        default: ""
      content:
        description: The content of that file.
        type: str
        default: ""
      skip:
        description: Why the job cannot be run. It is reported as skipped then.
        type: str
        default: ""
  user:
    description: The account that submits.
    type: str
    required: true
  folder:
    description: A folder on the share for what the jobs print, and their current folder. It is emptied before.
    type: path
    required: true
  queue_seconds:
    description: How long a job may wait in the queue.
    type: int
    default: 3600
  state_path:
    description: The file that keeps what is known between two calls.
    type: path
    default: /var/lib/aicluster/jobs.json
  run:
    description: A name of the run. A call that has the name of the last one goes on with it; the action plugin sets it.
    type: str
    default: ""
  wait:
    description: After how many seconds to return when nothing happens. 0 is when everything is done.
    type: int
    default: 0
attributes:
  action:
    description: Shows what goes on while it waits.
    support: full
  check_mode:
    description: Can run in check mode and tell which jobs it would submit.
    support: full
  diff_mode:
    description: There are no files to compare.
    support: none
  idempotent:
    description: Submits no job whose stamp is there. Others are submitted each time.
    support: partial
  platform:
    description: The platform.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Count the nodes, through Slurm
  aicluster.slurm.slurm_jobs:
    user: cluster
    folder: /data/delivery/count
    jobs:
      - name: count
        title: a job over two nodes
        options: [--nodes=2]
        script: |
          #!/bin/sh
          srun hostname
        check: test "$(wc -l < count.out)" = 2
        seconds: 60
  register: counted
"""

RETURN = r"""
rows:
  description: >-
    How each job ended, with C(name), C(title), C(verdict) (V(pass), V(fail), V(skipped), V(not run) or V(present)),
    C(reason), C(job), C(nodes), C(seconds), C(waited), C(lines) that tell why it failed, what it C(measured), and its
    C(output).
  type: list
  elements: dict
  returned: success
bad:
  description: For each job that failed or was not run a line, and below it those of its output that tell why.
  type: list
  elements: str
  returned: success
  sample: ["MPI over two nodes: fail, 3.1 s (job 7 on n[1-2]): it ended with exit code 1"]
done:
  description: Whether all jobs have ended.
  type: bool
  returned: success
quiet:
  description: Whether nothing happened during this call.
  type: bool
  returned: when not in check mode
events:
  description: What happened during this call.
  type: list
  elements: str
  returned: success
"""

import json
import os
import pwd
import re
import shutil
import time
from dataclasses import asdict, replace
from typing import Any, Mapping, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import jobs
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Result,
    Runner,
    module_runner,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.jobs import Current, Job, Limits

OUTPUT = 20000
"""Bytes of a job's output that are kept."""


class JobsError(Exception):
    """Jobs that cannot be run as asked."""


def jobs_of(items: Sequence[Mapping[str, Any]]) -> list[Job]:
    """The jobs, checked; JobsError."""
    found = [Job(**{**item, "options": tuple(item["options"])}) for item in items]
    names = [job.name for job in found]
    for job in found:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", job.name) or names.count(job.name) > 1:
            raise JobsError(f"jobs: name: found {job.name!r}; accepted: letters, digits and -_., each name once")
    return found


class Jobs:
    """One run over the jobs: what is known of it lies in a file, so that it can go on in a later call."""

    def __init__(self, run: Runner, wanted: Sequence[Job], params: Mapping[str, Any], look: bool) -> None:
        self._run = run
        self._wanted = wanted
        self._account = pwd.getpwnam(params["user"])
        self._folder = params["folder"]
        self._limits = Limits(params["queue_seconds"])
        self._path = params["state_path"]
        self.rows: dict[str, dict[str, Any]] = {}
        self._current: Current | None = None
        self._folder_is_fresh = False
        state = json.loads(read_whole(self._path) or "{}")
        if params["run"] and state.get("run") == params["run"]:
            self.rows = state["rows"]
            self._current = Current(**state["current"]) if state["current"] else None
            self._folder_is_fresh = state["fresh"]
        elif not look:
            left = (state.get("current") or {}).get("id")
            if left:
                self._as_user(["scancel", left], cwd="/")
        self._name = params["run"]

    @property
    def busy(self) -> bool:
        """Whether a job is submitted."""
        return self._current is not None

    @property
    def done(self) -> bool:
        """Whether every job has a verdict."""
        return len(self.rows) == len(self._wanted)

    def step(self) -> str:
        """Look once, and do what is due; what happened, in a line."""
        job = next(job for job in self._wanted if job.name not in self.rows)
        if self._current is None:
            return self._begin(job)
        now = time.time()
        seen = jobs.parse_jobs(self._as_user(["scontrol", "--oneliner", "show", "job", self._current.id]).stdout)
        decision = jobs.decide(job, self._current, seen, now, self._limits)
        self._current = decision.current
        if not decision.verdict:
            told = jobs.progress(job, self._current, seen)
            if told == self._current.shown:
                return ""
            self._current = replace(self._current, shown=told)
            return told
        if decision.cancel:
            self._as_user(["scancel", self._current.id])
        return self._end(job, jobs.result(job, decision.verdict, decision.reason, self._current, now))

    def elapsed(self) -> str:
        """What was last told of the job, and how long ago it was submitted."""
        if self._current is None:
            return ""
        return f"{self._current.shown}, {time.time() - self._current.submitted:.0f} s after it was submitted"

    def save(self) -> None:
        """Keep what is known for the next call, or for a run that finds this one killed."""
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        current = asdict(self._current) if self._current else None
        state = {"run": self._name, "rows": self.rows, "current": current, "fresh": self._folder_is_fresh}
        write_whole(self._path, json.dumps(state))

    def needed(self, job: Job) -> bool:
        """Whether the job has to run."""
        return not job.skip and not (job.stamp and self._text(job.stamp) == job.content)

    def _begin(self, job: Job) -> str:
        if not self.needed(job):
            verdict = jobs.SKIPPED if job.skip else jobs.PRESENT
            return self._end(job, jobs.result(job, verdict, job.skip))
        broken = self._fresh_folder()
        if broken:
            return self._end(job, jobs.result(job, jobs.NOT_RUN, broken))
        folder = os.path.join(os.path.dirname(self._path), "jobs")
        os.makedirs(folder, mode=0o755, exist_ok=True)
        script = os.path.join(folder, f"{job.name}.sh")
        write_whole(script, job.script)
        answer = self._as_user(jobs.submit_argv(job, self._folder, script))
        number = jobs.job_id(answer.stdout)
        if answer.rc != 0 or not number:
            return self._end(job, jobs.result(job, jobs.NOT_RUN, f"sbatch: {jobs.refused(answer.stderr)}"))
        now = time.time()
        self._current = Current(job.name, number, submitted=now, heard=now)
        return ""

    def _end(self, job: Job, row: dict[str, Any]) -> str:
        self._current = None
        if row["job"]:
            row["output"] = self._text(f"{self._folder}/{job.name}.out")[-OUTPUT:]
            if row["verdict"] == jobs.PASS and job.check:
                judged = self._as_user(["sh", "-c", job.check])
                if judged.rc != 0:
                    row.update(verdict=jobs.FAIL, reason="it ended well, but what it left is not right")
                row["output"] += judged.stdout + judged.stderr
            if row["verdict"] == jobs.SKIPPED:
                row["reason"] = jobs.why_skipped(row["output"])
            row["measured"] = jobs.measured(row["output"])
            if row["verdict"] not in jobs.GOOD:
                row["lines"] = jobs.lines_that_matter(row["output"]) or [self._why_silent()]
        self.rows[job.name] = row
        return jobs.sentence(row)

    def _why_silent(self) -> str:
        """A job without output: mostly the share is full."""
        space = self._as_user(["df", "--output=avail,target", self._folder]).stdout.split()
        full = len(space) >= 4 and space[-2] == "0"
        return f"it printed nothing{f': no space left on {space[-1]}' if full else ''}"

    def _fresh_folder(self) -> str:
        """Before the first job of a run: an empty folder; why there is none, such as a share that is full."""
        if self._folder_is_fresh:
            return ""
        # As the user, because root may be nobody there.
        made = self._as_user(["sh", "-c", 'rm -rf -- "$1" && mkdir -p -- "$1"', "sh", self._folder], cwd="/")
        self._folder_is_fresh = made.rc == 0
        return "" if made.rc == 0 else made.stderr.strip() or f"{self._folder} cannot be made"

    def _text(self, path: str) -> str:
        return self._as_user(["tail", "-c", str(OUTPUT), "--", path], cwd="/").stdout

    def _as_user(self, argv: Sequence[str], cwd: str = "") -> Result:
        account = self._account
        # sbatch hands its environment on to the job, so it has to be that of the user.
        variables = [
            f"HOME={account.pw_dir}",
            f"USER={account.pw_name}",
            f"LOGNAME={account.pw_name}",
            "LC_ALL=C.UTF-8",
        ]
        enter = ["env", f"--chdir={cwd or self._folder}", *variables]
        return self._run(["runuser", "-u", account.pw_name, "--", *enter, *argv])


def preview(items: Jobs, wanted: Sequence[Job]) -> dict[str, Any]:
    """What check mode says."""
    needed = [job for job in wanted if items.needed(job)]
    return {
        "changed": any(job.stamp for job in needed),
        "rows": [],
        "bad": [],
        "done": True,
        "events": [f"would submit: {job.title}" for job in needed],
    }


def advance(items: Jobs, wanted: Sequence[Job], wait: int) -> dict[str, Any]:
    """Go on until something happens, or all is done, or the time is over."""
    until = time.monotonic() + wait
    events = []
    while not items.done:
        waited = items.busy
        told = items.step()
        items.save()
        if told:
            events.append(told)
        # What needs no job is told together with the next one that does.
        if wait and ((told and waited) or time.monotonic() >= until):
            break
        if items.busy and not told:
            time.sleep(0.5)
    quiet = not events and not items.done
    if quiet:
        events = [items.elapsed()]
    rows = list(items.rows.values())
    stamped = {job.name for job in wanted if job.stamp}
    return {
        "changed": any(row["verdict"] == jobs.PASS and row["name"] in stamped for row in rows),
        "rows": rows if items.done else [],
        "bad": ["\n    ".join([jobs.sentence(row), *row["lines"]]) for row in rows if row["verdict"] not in jobs.GOOD],
        "done": items.done,
        "events": events,
        "quiet": quiet,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "jobs": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "title": {"type": "str", "required": True},
                    "script": {"type": "str", "default": ""},
                    "options": {"type": "list", "elements": "str", "default": []},
                    "seconds": {"type": "int", "default": 300},
                    "check": {"type": "str", "default": ""},
                    "stamp": {"type": "str", "default": ""},
                    "content": {"type": "str", "default": ""},
                    "skip": {"type": "str", "default": ""},
                },
            },
            "user": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "queue_seconds": {"type": "int", "default": 3600},
            "state_path": {"type": "path", "default": "/var/lib/aicluster/jobs.json"},
            "run": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        wanted = jobs_of(module.params["jobs"])
        for program in ("sbatch", "runuser"):
            if not shutil.which(program):
                raise JobsError(f"found no {program} here; accepted: a host with Slurm's client programs")
        items = Jobs(module_runner(module), wanted, module.params, module.check_mode)
        result = preview(items, wanted) if module.check_mode else advance(items, wanted, module.params["wait"])
    except KeyError:
        module.fail_json(msg=f"slurm_jobs: user: found {module.params['user']}, which this host does not know")
    except (JobsError, CommandError, OSError, ValueError) as error:
        module.fail_json(msg=f"slurm_jobs: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
