#!/bin/sh
# Installs the package in a fresh Debian 12, starts it as its unit would, chats, purges, and looks for what is left.
# usage: packaging/test-deb.sh BUILD_DIR; as root, with mmdebstrap, systemd-analyze, util-linux, iproute2, python3.
#
# There is no systemd running in a chroot. Checked instead: the unit by systemd-analyze (verify, security), and the
# service by starting its ExecStart with what can be set without systemd: an unprivileged user without groups or
# capabilities, no-new-privs, a read-only system with a private /tmp and writable state only, memory that is never
# writable and executable, a network with nothing but loopback, and a notify socket. Not checked: the system-call
# filter, restricted namespaces and address families, the dynamic user itself.
set -eu
cd "$(dirname "$0")/.."
build=$(realpath "$1")
deb=$(ls "$build"/naru_*_"$(dpkg --print-architecture)".deb)
root=$build/deb-root
tar=$build/deb-root.tar
say() { printf 'test-deb: %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "needs root for the chroot"

[ -f "$tar" ] || { say "making a fresh Debian 12"; mmdebstrap --quiet --variant=minbase bookworm "$tar"; }
rm -rf "$root"; mkdir "$root"; tar -xf "$tar" -C "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
in_root() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" "$@"; }
listing() { (cd "$root" && find . -path ./proc -prune -o -path ./dev -prune -o -path ./tmp -prune -o -path ./var/lib/dpkg -prune \
    -o -path ./var/log -prune -o -path ./var/cache/ldconfig -prune -o -path ./etc/ld.so.cache -prune -o -print | LC_ALL=C sort); }

say "installing the dependencies"
# shellcheck disable=SC2046  # a list of words on purpose
in_root apt-get install -y -q --no-install-recommends $(dpkg-deb -f "$deb" Depends Pre-Depends | sed 's/^[A-Za-z-]*://; s/([^)]*)//g; s/,/ /g') >/dev/null 2>&1 ||
    { in_root apt-get update -q >/dev/null; in_root apt-get install -y -q --no-install-recommends $(dpkg-deb -f "$deb" Depends Pre-Depends | sed 's/^[A-Za-z-]*://; s/([^)]*)//g; s/,/ /g') >/dev/null; }
listing >"$build/deb-before"
cp "$deb" "$root/tmp/naru.deb"
in_root dpkg -i /tmp/naru.deb >/dev/null || fail "dpkg -i"

say "installed: $(in_root naru version)"
in_root naru serve --config /etc/naru/naru.conf --check-config >/dev/null || fail "the config file of the package is not valid"
in_root naru run -p "Hello!" -n 8 --temp 0 >/dev/null 2>&1 || fail "naru run does not find the bundled model"
in_root bash -c '. /usr/share/bash-completion/completions/naru && complete -p naru' >/dev/null || fail "bash completion"
[ "$(dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./conffiles)" = /etc/naru/naru.conf ] || fail "conffiles"
# verify looks for the program and the targets of this system: the unit with the path of the build.
mkdir -p "$build/unit"; sed "s|/usr/bin/naru|$build/naru|" packaging/naru.service >"$build/unit/naru.service"
if systemd-analyze verify --man=no "$build/unit/naru.service" 2>&1 | grep -i naru; then fail "systemd-analyze verify has something to say"; fi
systemd-analyze security --offline=true --root="$root" naru.service 2>/dev/null | tail -n 1

say "starting ExecStart under the restrictions"
python3 packaging/start-as-unit.py "$root" || fail "the service"

in_root dpkg --purge naru >/dev/null || fail "purge"
listing >"$build/deb-after"
diff "$build/deb-before" "$build/deb-after" || fail "the purge left the above (or took too much)"
say "purged: nothing left behind"
rm -rf "$root"
