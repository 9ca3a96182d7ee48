"""What a host of the lab is made of: Debian 12 with systemd, and the stock kernels of three releases."""

import hashlib
from pathlib import Path

KERNELS = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
"""Kernels by the Debian release that ships them; the host itself is always Debian 12."""
RELEASE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "libpam-systemd", "dbus-user-session", "systemd-container", "openssh-server"),
    *("cron", "at", "rsyslog", "auditd", "sudo", "adduser", "procps", "iproute2", "nftables"),
    *("python3", "python3-venv", "libbpf1", "tmux", "screen", "strace", "netcat-openbsd", "kmod"),
)
USERS = ("alice", "bob")
"""Both log in by ssh with the lab's key; alice may use sudo without a password."""
DISK = "4G"

# A small initial disk: it only has to mount the root, and is unpacked at each start.
BEFORE_PACKAGES = """
install -d "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks"
printf 'MODULES=list\\nCOMPRESS=gzip\\nCOMPRESSLEVEL=1\\n' > "$1/etc/initramfs-tools/conf.d/lab"
cat > "$1/etc/initramfs-tools/hooks/lab" <<'HOOK'
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4
HOOK
chmod 755 "$1/etc/initramfs-tools/hooks/lab"
"""

# Each release's meta package names its kernel. One at a time: the root stays a Debian 12.
INSTALL_KERNELS = """
set -eu
for suite in $LAB_SUITES; do
  if [ "$suite" != "$LAB_RELEASE" ]; then
    echo "deb $LAB_MIRROR $suite main" > "$1/etc/apt/sources.list.d/kernels.list"
    chroot "$1" apt-get -qq update
  fi
  kernel=$(chroot "$1" apt-cache show "linux-image-cloud-amd64/$suite" |
    sed -n 's/^Depends:.*\\(linux-image-[0-9][^ ,]*\\).*/\\1/p' | head -1)
  chroot "$1" apt-get -qq install -y --no-install-recommends "$kernel" > /dev/null
  rm -f "$1/etc/apt/sources.list.d/kernels.list"
done
"""

# What a person sets up on such a host, and what a test needs to get in.
SET_UP = """
set -eu
for user in $LAB_USERS; do
  chroot "$1" useradd -m -s /bin/bash "$user"
  install -d -m 700 "$1/home/$user/.ssh"
  cp "$LAB_KEY" "$1/home/$user/.ssh/authorized_keys"
  chroot "$1" chown -R "$user:" "/home/$user"
done
install -d -m 700 "$1/root/.ssh"
cp "$LAB_KEY" "$1/root/.ssh/authorized_keys"
echo 'alice ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/alice"
printf '[Match]\\nName=en* eth*\\n[Network]\\nDHCP=yes\\n' > "$1/etc/systemd/network/20-wired.network"
printf '/dev/vda / ext4 defaults 0 1\\n' > "$1/etc/fstab"
printf '/dev/disk/by-id/virtio-payload /opt/lab ext4 defaults,nofail 0 0\\n' >> "$1/etc/fstab"
echo '127.0.0.1 localhost' > "$1/etc/hosts"
# One connection is many sessions of root here.
printf 'MaxSessions 64\\nMaxStartups 64:30:128\\nUseDNS no\\n' > "$1/etc/ssh/sshd_config.d/lab.conf"
chroot "$1" systemctl -q enable systemd-networkd ssh cron rsyslog auditd
# Nothing of its own may run in the middle of a test; the network has no way out.
chroot "$1" systemctl -q mask systemd-timesyncd systemd-networkd-wait-online \\
  apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_all.timer dpkg-db-backup.timer \\
  logrotate.timer fstrim.timer
for image in "$1"/boot/vmlinuz-*; do
  release=${image##*/vmlinuz-}
  [ -e "$1/boot/initrd.img-$release" ] || chroot "$1" update-initramfs -c -k "$release" > /dev/null
done
"""


def digest() -> str:
    """Return what names this recipe: another text is another cache."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
