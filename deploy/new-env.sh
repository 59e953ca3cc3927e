#!/bin/sh
# Write the .env that docker compose reads: an API key of your own, and what the profiles need.
#
#   deploy/new-env.sh cpu                        a laptop
#   deploy/new-env.sh gpu storage monitoring     a GPU host, artifacts in a bucket, dashboards
#
# The key is shown once; the file has its hash. It never overwrites a file.
set -eu
file=${ENV_FILE:-.env}
[ $# -gt 0 ] || { echo "usage: $0 cpu|gpu [storage] [monitoring]" >&2; exit 2; }
for profile in "$@"; do
    case $profile in
        cpu | gpu | storage | monitoring) ;;
        *) echo "there is no profile $profile" >&2; exit 2 ;;
    esac
done
[ ! -e "$file" ] || { echo "$file is there already: remove it first" >&2; exit 1; }

umask 077
key=ap_$(openssl rand -hex 24)
sha256=$(printf %s "$key" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
{
    echo "COMPOSE_PROFILES=$(echo "$*" | tr ' ' ',')"
    echo "ATTENTION_PLEASE_API_KEYS='[{\"name\": \"me\", \"sha256\": \"$sha256\"}]'"
    case " $* " in *" gpu "*)
        echo "ATTENTION_PLEASE_MODELS_FILE=/app/models/gpu.toml" ;;
    esac
    case " $* " in *" storage "*)
        echo "ATTENTION_PLEASE_STORAGE_URL=s3://attention-please"
        echo "ATTENTION_PLEASE_STORAGE_ENDPOINT=http://storage:8333"
        echo "ATTENTION_PLEASE_SIGNING_SECRET=$(openssl rand -hex 32)"
        echo "AWS_ACCESS_KEY_ID=$(openssl rand -hex 10)"
        echo "AWS_SECRET_ACCESS_KEY=$(openssl rand -hex 20)" ;;
    esac
} > "$file"
echo "Wrote $file. The key, for \`Authorization: Bearer\`, shown only now:"
echo "  $key"
