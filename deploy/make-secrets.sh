#!/bin/sh
# Makes what the services of compose.yaml need to trust one another, once: passwords, a certificate authority with a
# certificate for each server, the key ring and the operator token. Every service gets a folder with what it may read.
# Usage: make-secrets.sh DIRECTORY
set -eu
umask 077
out=$1
[ ! -e "$out/sidecar/complete" ] || exit 0

secret() { openssl rand -hex 24; }
base64url() { openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n'; }

ca=$(mktemp -d)
trap 'rm -rf "$ca"' EXIT
new_key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $new_key -days 3650 -subj '/CN=sallyport compose' \
  -addext 'basicConstraints=critical,CA:TRUE' -keyout "$ca/ca.key" -out "$ca/ca.crt" 2>/dev/null

for server in postgres redis; do
  mkdir -p "$out/$server"
  openssl req -new $new_key -subj "/CN=$server" -keyout "$out/$server/tls.key" -out "$ca/$server.csr" 2>/dev/null
  printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:%s,DNS:localhost\n' "$server" > "$ca/$server.ext"
  openssl x509 -req -in "$ca/$server.csr" -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -CAcreateserial -days 3650 \
    -extfile "$ca/$server.ext" -out "$out/$server/tls.crt" 2>/dev/null
done

mkdir -p "$out/sidecar"
cp "$ca/ca.crt" "$out/sidecar/ca.crt"
cp "$ca/ca.crt" "$out/redis/ca.crt"

secret > "$out/postgres/superuser.password"
for role in sallyport_owner sallyport sallyport_audit; do
  password=$(secret)
  echo "$password" > "$out/postgres/$role.password"
  echo "postgresql://$role:$password@postgres:5432/sallyport" > "$out/sidecar/$role.url"
done

secret > "$out/sidecar/redis.password"
cat > "$out/redis/redis.conf" <<CONF
port 0
tls-port 6379
tls-cert-file /run/sallyport/tls.crt
tls-key-file /run/sallyport/tls.key
tls-ca-cert-file /run/sallyport/ca.crt
tls-auth-clients no
requirepass $(cat "$out/sidecar/redis.password")
# Copies and news only: nothing here has to outlive a restart. When memory is short copies go, which have an expiry, and
# not the ends of sessions that wait for PostgreSQL, which have none.
save ""
appendonly no
maxmemory 256mb
maxmemory-policy volatile-lru
CONF

printf '{"active":1,"digests":1,"keys":{"1":"%s"}}\n' "$(base64url)" > "$out/sidecar/keys.json"
printf 'spo_%s\n' "$(base64url)" > "$out/sidecar/operator.token"

# Whom the images run as. Who is not root makes them for a look only.
if [ "$(id -u)" = 0 ]; then
  chown -R 999:999 "$out/postgres" "$out/redis"
  chown -R 65532:65532 "$out/sidecar"
fi
: > "$out/sidecar/complete"
