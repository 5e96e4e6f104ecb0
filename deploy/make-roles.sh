#!/bin/sh
# Runs once, when PostgreSQL makes its data directory: the three roles and the database. The schema is for
# `sallyport migrate`.
# Usage: make-roles.sh [DIRECTORY]
set -eu
secrets=${1:-/run/sallyport}
{
  for role in sallyport_owner sallyport sallyport_audit; do
    echo "CREATE ROLE $role LOGIN PASSWORD '$(cat "$secrets/$role.password")';"
  done
  echo 'CREATE DATABASE sallyport OWNER sallyport_owner;'
} | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres
