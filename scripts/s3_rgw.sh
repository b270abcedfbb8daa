#!/usr/bin/env bash
# Runs a command beside a real S3 server, Ceph's RGW: `s3_rgw.sh DIR COMMAND...`
#
# One monitor, one OSD in memory and one gateway, on loopback, from Debian's own packages unpacked into DIR (about
# 70 MB to download the first time; nothing is installed). The command finds the address in LORAX_BATCH_TEST_S3; the
# keys are test/test. All ends with the command.
set -euo pipefail
base=$(mkdir -p "${1:?usage: s3_rgw.sh DIR COMMAND...}" && cd "$1" && pwd)
shift
root=$base/root
run=$base/run

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

unpack() {
  if [ -x "$root/usr/bin/radosgw" ]; then return; fi
  mkdir -p "$base/debs/partial" "$root"
  apt-get install -y -qq --no-install-recommends --download-only \
    -o Dir::Cache::archives="$base/debs" radosgw ceph-mon ceph-osd
  for deb in "$base"/debs/*.deb; do dpkg -x "$deb" "$root"; done
}

pids() {
  for name in radosgw ceph-osd ceph-mon; do cat "$run/$name.pid" 2>/dev/null || true; done
}

stop() {
  trap - EXIT
  local started
  started=$(pids)
  for pid in $started; do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do
    local alive=
    for pid in $started; do if kill -0 "$pid" 2>/dev/null; then alive=1; fi; done
    if [ -z "$alive" ]; then return; fi
    sleep 0.1
  done
  for pid in $started; do kill -9 "$pid" 2>/dev/null || true; done # its data is in memory
}

# Right after the start the monitor refuses for a moment: try a few times.
patiently() {
  for _ in $(seq 20); do
    if "$@" >/dev/null 2>"$run/last-error"; then return; fi
    sleep 0.5
  done
  cat "$run/last-error" >&2
  return 1
}

write_config() {
  cat >"$run/ceph.conf" <<CONF
[global]
fsid = $1
mon host = [v1:127.0.0.1:$2]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr2 = false
osd objectstore = memstore
memstore device bytes = 3221225472
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd class dir = $lib/rados-classes
erasure code dir = $lib/ceph/erasure-code
plugin dir = $lib/ceph
run dir = $run
pid file = $run/\$type.pid
admin socket = $run/\$name.asok
log file = $run/\$name.log
mon data = $run/mon
osd data = $run/osd
rgw data = $run/rgw
mon osd crush smoke test = false
mon data avail crit = 0
CONF
}

start() {
  local fsid osd monitor_port
  fsid=$(cat /proc/sys/kernel/random/uuid)
  osd=$(cat /proc/sys/kernel/random/uuid)
  monitor_port=$(free_port)
  rm -rf "$run"
  mkdir -p "$run/mon" "$run/osd" "$run/rgw"
  write_config "$fsid" "$monitor_port"
  monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$monitor_port]" "$run/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$run/monmap" --mon-data "$run/mon"
  ceph-mon -i a --mon-data "$run/mon" --pid-file "$run/ceph-mon.pid"
  patiently /usr/bin/python3 "$root/usr/bin/ceph" -c "$run/ceph.conf" osd new "$osd"
  ceph-osd -i 0 --mkfs --osd-uuid "$osd"
  patiently ceph-osd -i 0 --pid-file "$run/ceph-osd.pid"
  radosgw-admin user create --uid t --display-name t --access-key test --secret test >/dev/null
  radosgw -n client.rgw.a --rgw-frontends "beast endpoint=127.0.0.1:$1" --pid-file "$run/radosgw.pid"
  patiently bash -c ": > /dev/tcp/127.0.0.1/$1"
}

unpack
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
lib=$root/usr/lib/$arch
port=$(free_port)
trap stop EXIT
(
  export LD_LIBRARY_PATH=$lib:$lib/ceph:$root/lib/$arch:$root/usr/lib
  export PATH=$root/usr/bin:$PATH PYTHONPATH=$root/usr/lib/python3/dist-packages CEPH_CONF=$run/ceph.conf
  start "$port"
)
LORAX_BATCH_TEST_S3=http://127.0.0.1:$port "$@"
