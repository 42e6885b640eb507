#!/bin/sh
# Write the passwords of this machine's containers, once: deploy/secrets.sh [FILE], by default .env beside
# docker-compose.yml, where docker compose looks for it. A file that exists is never changed, for the data of the
# containers goes with it.
set -eu
file=${1:-$(dirname "$0")/../.env}

if [ -e "$file" ]; then
  echo "$file exists already: left as it is."
  exit 0
fi

# Starts with a letter: nats.conf would take a word of digits for a number.
secret() { printf s; od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

postgres=$(secret)

umask 077
# `set -C` (noclobber): of two runs at the same time only one writes.
set -C
cat >"$file" <<END
# Made by deploy/secrets.sh. Keep it out of version control and out of images.
AICP_NATS_TOKEN=$(secret)
AICP_REDIS_PASSWORD=$(secret)
# Signs the tokens of clients when JWT_REQUIRED=true.
JWT_SECRET=$(secret)
# The archive of every change, in PostgreSQL (docs/archive.md): take the # off the last two lines.
AICP_POSTGRES_PASSWORD=$postgres
#COMPOSE_PROFILES=archive
#AICP_POSTGRES_URL=postgresql://aicp:$postgres@postgres:5432/aicp
END
echo "Wrote new passwords to $file (mode 0600)."
