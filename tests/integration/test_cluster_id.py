# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database comes to a cluster that had none. slurmctld of 24.11 made up an id for it, and ends with another one's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.cluster import wait_for
from .conftest import Controller

DATABASE = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends mariadb-server slurmdbd slurm-wlm-mysql-plugin
systemctl start mariadb
# slurmdbd would make it itself, but dies of that with Connector/C 3.4.10 (docs/troubleshooting.md).
mariadb -e "CREATE DATABASE slurm_acct_db"
mariadb -e "CREATE USER slurm@localhost IDENTIFIED BY 'told'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost"
install -m 0600 -o slurm -g slurm /dev/stdin /etc/slurm/slurmdbd.conf <<END
AuthType=auth/munge
DbdHost=ctl1
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=told
StorageLoc=slurm_acct_db
LogFile=/var/log/slurm/slurmdbd.log
END
systemctl restart slurmdbd
"""
ASKED = {"AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageHost": "ctl1"}
ID = "/var/spool/slurmctld/clustername"


@pytest.fixture
def database(controller: Controller) -> Iterator[None]:
    """slurmdbd and its MariaDB, which know no cluster."""
    controller.output(f"set -e{DATABASE}")
    listening = wait_for(lambda: controller.output("ss -Hltn 'sport = :6819'"), bool, seconds=60)
    assert listening, controller.output("journalctl -u slurmdbd; cat /var/log/slurm/slurmdbd.log")
    yield
    controller.output("systemctl stop slurmctld slurmdbd mariadb")


@pytest.mark.usefixtures("database")
def test_jobs_survive_the_first_database(controller: Controller) -> None:
    job = controller.output("cd / && sbatch --parsable --hold --wrap true").strip()
    before = controller.output(f"cat {ID}")
    result = controller.use(controller.options(**ASKED))
    assert result["plan"]["action"] == "restart"
    # 22.05 keeps only the name of its cluster there.
    anew = controller.version >= (23, 11)
    assert (["rm", "-f", ID] in result["commands"]) == anew
    assert (controller.output(f"cat {ID}") != before) == anew
    assert controller.output("sacctmgr -nP show cluster format=cluster,controlport").strip() == "real|6817"
    assert f"JobId={job} " in controller.output(f"scontrol --oneliner show job {job}")
    # The database's id is the cluster's from now on.
    controller.output("systemctl restart slurmctld")
    assert wait_for(lambda: controller.machine.shell.run("scontrol ping").rc, lambda rc: rc == 0) == 0
    assert "JobState=PENDING" in controller.output(f"scontrol show job {job}")
    assert "CLUSTER ID MISMATCH" not in controller.output("cat /var/log/slurm/slurmctld.log")
