# shellcheck shell=sh
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# settle.sh SYSCTL TMPFILES: does now what those two files have done at each boot, and says what was not so.
set -eu
sysctl=$1 tmpfiles=$2

# Keys with a dash before them need not exist.
sed -n 's/^\(-\{0,1\}\)\([a-z_.]*\) = \([0-9]*\)$/\1 \2 \3/p' "$sysctl" | while read -r key value rest; do
    if [ "$key" = - ]; then key=$value value=$rest; fi
    file=/proc/sys/$(echo "$key" | tr . /)
    if [ ! -e "$file" ] || [ "$(cat "$file")" = "$value" ]; then continue; fi
    echo "$key"
    /lib/systemd/systemd-sysctl "$sysctl"
done

sed -n 's/^d //p' "$tmpfiles" | while read -r path mode owner group _age; do
    if [ "$(stat -c '%a %U %G' "$path" 2>/dev/null)" = "${mode#0} $owner $group" ]; then continue; fi
    echo "$path"
    systemd-tmpfiles --create "$tmpfiles"
done
