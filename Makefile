# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# bookworm (Debian 12, Slurm 22.05) or trixie (Debian 13, Slurm 24.11); IMAGE=ubuntu:24.04 has containers made of that image instead
SUITE ?= bookworm
# What `make molecule` runs: every scenario of containers, or SCENARIOS="default standalone"
SCENARIOS ?= $(filter-out vm,$(patsubst molecule/%/molecule.yml,%,$(sort $(wildcard molecule/*/molecule.yml))))
# How much `make vm` plays: whole, or short as in `TEST_VM=1 make test`
VM_PARTS ?= whole

export SUITE VM_PARTS
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Nothing of the caller's own Ansible settings takes part.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.DEFAULT_GOAL := help
.PHONY: help setup configure demo demo-shell demo-down test lint sanity unit docs build molecule vm integration chaos bench cores scale hosts clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## The pinned tools into .venv, the collections into .cache
	@scripts/setup

configure: setup ## Ask for your hosts, and write the folder inventory for site.yml
	@ansible-playbook playbooks/configure.yml

demo: ## A running cluster of four containers, and two jobs on it (SUITE=trixie for Debian 13)
	@scripts/demo up

demo-shell: ## A shell on the head of the demo
	@scripts/demo shell

demo-down: ## Remove the demo
	@scripts/demo down

test: ## All from lint to integration and three chaotic deploys, with the time of each part (TEST_VM=1 adds vm)
	@scripts/test

lint: setup ## Style, types, YAML, Ansible, shell and licence headers
	@scripts/lint

sanity: setup ## ansible-test sanity, nothing ignored
	@scripts/sanity

unit: setup ## Unit tests
	@scripts/unit

docs: setup ## The list of variables, all references and the changelog; a site of plugins and roles
	@scripts/docs

build: setup ## Build the tarball, install it into an empty path, use it from there
	@scripts/build

molecule: setup hosts ## The scenarios, in containers (SUITE=trixie, SCENARIOS=default)
	@test -n "$(strip $(SCENARIOS))" || { echo "no scenario to run"; exit 2; }
	@set -e; for scenario in $(SCENARIOS); do \
	    echo "== molecule: $$scenario on $(SUITE)"; \
	    molecule test -s "$$scenario"; \
	done

integration: setup hosts ## What we read in slurm.conf, see of a running Slurm and tell it, held against Slurm itself (SUITE=trixie)
	@PYTHONPATH=collections .venv/bin/python -m tests.integration.read_slurm_conf aicluster-base:$(SUITE)
	@PYTHONPATH=collections .venv/bin/python -m tests.integration.running_slurm aicluster-base:$(SUITE)
	@PYTHONPATH=benchmarks .venv/bin/python -m pytest tests/integration --image=aicluster-base:$(SUITE)

vm: setup ## The scenario in virtual machines with kernels of their own (SUITE=trixie, VM_PARTS=short)
	@scripts/vm tools
	@scripts/vm_image $(SUITE)
	@echo "== molecule: vm on $(SUITE), $(VM_PARTS)"
	@molecule test -s vm

chaos: setup hosts ## First deploys that are killed or frozen in the middle, each then repaired by one run (SEEDS=1,2,5)
	@PYTHONPATH=benchmarks .venv/bin/python tests/chaos/chaos.py $(SEEDS)

bench: setup hosts ## How long a deploy takes beside a bare shell script, and how many module calls (quiet machine, 3 and 8 hosts)
	@.venv/bin/python benchmarks/deploy.py

scale: setup hosts ## What grows with the number of nodes: seconds and peak memory (docs/scaling.md)
	@.venv/bin/python benchmarks/scale.py

cores: setup ## Unit tests and sanity with other versions of ansible-core; what an older one is told
	@scripts/cores

hosts: # what Molecule's containers need
	@scripts/engine up
	@scripts/image $(SUITE)

clean: ## Remove what setup and the tests made here (containers stay)
	rm -rf .venv .cache ansible.log
