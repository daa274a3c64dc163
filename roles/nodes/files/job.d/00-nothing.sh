#!/bin/sh
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Slurm runs every script of this folder before and after each job, where Prolog and Epilog name it; and it drains a node
# on which it finds none.
exit 0
