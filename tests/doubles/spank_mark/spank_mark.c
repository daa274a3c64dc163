/* SPDX-FileCopyrightText: aicluster.slurm contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A small SPANK plugin: `srun --mark=TEXT` gives the job's tasks the variable MARK, after the plugin's own argument. */

#include <stdio.h>
#include <slurm/spank.h>

SPANK_PLUGIN(mark, 1);

static char mark[256];

static int take(int val, const char *optarg, int remote)
{
	(void) val;
	(void) remote;
	snprintf(mark, sizeof(mark), "%s", optarg);
	return ESPANK_SUCCESS;
}

struct spank_option spank_options[] = {
	{ "mark", "TEXT", "Mark the tasks of the job.", 1, 0, take },
	SPANK_OPTIONS_TABLE_END
};

int slurm_spank_task_init(spank_t spank, int argc, char **argv)
{
	char value[512];

	if (!mark[0])
		return ESPANK_SUCCESS;
	snprintf(value, sizeof(value), "%s%s", argc > 0 ? argv[0] : "", mark);
	return spank_setenv(spank, "MARK", value, 1);
}
