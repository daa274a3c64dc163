# shellcheck shell=sh
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# install.sh check|install PACKAGE|FILE...: says what of it is not there in this version, and installs it all at once.
set -eu
mode=$1
shift
missing=
for each; do
    name=${each%%=*} version=
    if [ "${each#/}" != "$each" ] && [ -e "$each" ]; then
        name=$(dpkg-deb --field "$each" Package) version=$(dpkg-deb --field "$each" Version)
    elif [ "$name" != "$each" ]; then
        version=${each#*=}
    fi
    there=$(dpkg-query --show --showformat='${db:Status-Status} ${Version}' -- "$name" 2>/dev/null) || there=no
    case $there in
        "installed ${version:-${there#installed }}") ;;
        *) missing="$missing ${name##*/}" ;;
    esac
done
[ "$missing" ] || exit 0
echo "aicluster: not there:$missing"
[ "$mode" = install ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install -- "$@"
