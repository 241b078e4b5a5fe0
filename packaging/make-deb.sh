#!/bin/sh
# Builds the Debian package from a finished build. usage: packaging/make-deb.sh BUILD_DIR
# Needs dpkg-dev (dpkg-deb, dpkg-shlibdeps) and binutils (strip). The result does not depend on when it was built.
set -eu
cd "$(dirname "$0")/.."
build=$1
version=$(cat VERSION)
arch=$(dpkg --print-architecture)
root=$build/deb
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)}; export SOURCE_DATE_EPOCH

rm -rf "$root"
mkdir -p "$root"
make -s O="$build" DESTDIR="$root" install
strip --strip-unneeded "$root/usr/bin/naru"
install -D -m 644 packaging/naru.service "$root/lib/systemd/system/naru.service"
install -D -m 644 packaging/naru.conf "$root/etc/naru/naru.conf"
gzip -9n "$root"/usr/share/man/man1/naru.1 "$root"/usr/share/man/man5/naru.conf.5

doc=$root/usr/share/doc/naru
install -d "$doc"
cat >"$doc/copyright" <<TEXT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: naru

Files: *
Copyright: 2026 the authors of Naru
License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.

Files: usr/share/naru/models/naru-chat.gguf
Copyright: 2026 the authors of Naru; of the texts it was trained on, as naru-chat.md lists them
License: Apache-2.0
Comment: sources and their licences are in /usr/share/doc/naru/naru-chat.md.gz
TEXT
printf 'naru (%s) unstable; urgency=medium\n\n  * Built from the source tree of that version.\n\n -- %s <%s>  %s\n' "$version" \
    "Naru" "naru@naru.invalid" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog"
cp models/naru-chat.md models/credits-stories-children.tsv "$doc/"
gzip -9n "$doc/changelog" "$doc/naru-chat.md" "$doc/credits-stories-children.tsv"

# Dependencies as the binary's symbols need them.
control=$(mktemp -d); trap 'rm -rf "$control"' EXIT
mkdir "$control/debian"
printf 'Source: naru\n\nPackage: naru\nArchitecture: any\n' >"$control/debian/control"
binary=$(realpath "$root/usr/bin/naru")
depends=$(cd "$control" && dpkg-shlibdeps -O "$binary" | sed -n 's/^shlibs:Depends=//p')

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<TEXT
Package: naru
Version: $version
Architecture: $arch
Maintainer: Naru <naru@naru.invalid>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Pre-Depends: init-system-helpers (>= 1.54~)
Section: net
Priority: optional
Description: inference operating system for language models
 Naru turns model files (GGUF, safetensors) and memory into tokens: one program
 that serves language models to OpenAI clients and a web page, batches requests
 of several users, and keeps the state of conversations so that nothing is
 computed twice. It listens on this machine only unless told otherwise and makes
 no outbound connections.
 .
 The package brings a very small model to try it with, and a hardened service.
TEXT
echo /etc/naru/naru.conf >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/postinst" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = configure ] || [ "$1" = abort-upgrade ] || [ "$1" = abort-deconfigure ] || [ "$1" = abort-remove ]; then
    deb-systemd-helper unmask naru.service >/dev/null || true
    if deb-systemd-helper --quiet was-enabled naru.service; then
        deb-systemd-helper enable naru.service >/dev/null || true
    else
        deb-systemd-helper update-state naru.service >/dev/null || true
    fi
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then action=restart; else action=start; fi
        deb-systemd-invoke $action naru.service >/dev/null || true
    fi
fi
TEXT
cat >"$root/DEBIAN/prerm" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop naru.service >/dev/null || true
fi
TEXT
# The service runs under a dynamic user: its state lies in /var/lib/private, and there is no account to delete.
cat >"$root/DEBIAN/postrm" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge naru.service >/dev/null || true
        deb-systemd-helper unmask naru.service >/dev/null || true
    fi
    rm -rf /var/lib/naru /var/lib/private/naru /var/cache/naru /var/cache/private/naru
    rmdir /var/lib/private /var/cache/private 2>/dev/null || true
fi
TEXT
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN/md5sums" "$root/DEBIAN/control" "$root/DEBIAN/conffiles"
chmod -R go=rX "$root"
dpkg-deb --root-owner-group -Zxz --build "$root" "$build/naru_${version}_$arch.deb"
