#!/bin/sh
# The role and the database of docs/postgres.md. PostgreSQL's image runs this when the cluster is new.
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username=postgres --set=password="$(cat "${ROOT-}/secrets/keybearer-password")" <<'SQL'
CREATE ROLE keybearer LOGIN PASSWORD :'password';
CREATE DATABASE keybearer OWNER keybearer;
REVOKE CONNECT ON DATABASE keybearer FROM PUBLIC;
SQL
