# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module finds as its arguments where a test runs it without Ansible, whichever ansible-core is there."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any, Iterator
from unittest import mock

from ansible.module_utils import basic


@contextmanager
def module_arguments(arguments: dict[str, Any]) -> Iterator[None]:
    """While this lasts a module has these."""
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # before ansible-core 2.19
        text = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        given = mock.patch.object(basic, "_ANSIBLE_ARGS", text)
    else:
        given = patch_module_args(arguments)
    with given:
        yield
