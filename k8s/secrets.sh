#!/bin/sh
# Print the Secrets that the manifests name, with passwords made now:
#
#   k8s/secrets.sh | kubectl create -f -                        # all; refuses to replace what is there
#   k8s/secrets.sh mlflow-postgres | kubectl replace -f -       # one anew
#
# Others are there while a secret is rotated (rotation.md), and are printed by name alone:
#
#   k8s/secrets.sh seldtune-ray-token-2                         # a token under another name, whatever follows the dash
#   ACCOUNT=sweeps-2 k8s/secrets.sh seldtune-mlflow-next        # a second account of MLflow
#   ACCOUNT=seldtune-2 k8s/secrets.sh seldtune-storage-next     # a second pair of keys of the store in the cluster
#
# Keys of the object store are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this environment, or else made too, for a
# store inside the cluster. NAMESPACE is seldtune if not set. No secret is in any command's arguments.
set -eu

random() {
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

secret() { # NAME KEY=VALUE...
    case " $wanted " in *" $1 "* | "  ") ;; *) return 0 ;; esac
    printf "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\nstringData:\n" "$1" "${NAMESPACE:-seldtune}"
    shift
    for pair; do
        [ -n "${pair#*=}" ] || { echo "nothing random came for ${pair%%=*}" >&2 && exit 1; }
        printf "  %s: '%s'\n" "${pair%%=*}" "${pair#*=}"
    done
    printf -- "---\n"
}

if [ -z "${AWS_ACCESS_KEY_ID:-}" ] && [ -z "${AWS_SECRET_ACCESS_KEY:-}" ]; then
    AWS_ACCESS_KEY_ID=seldtune AWS_SECRET_ACCESS_KEY=$(random)
fi
known=" seldtune-storage seldtune-mlflow seldtune-ray-token mlflow-server mlflow-postgres "
for name; do
    case "$known $name" in
        *" $name "* | *" seldtune-ray-token-"?*) ;;
        *" seldtune-mlflow-next" | *" seldtune-storage-next")
            : "${ACCOUNT:?name the account of $name, other than the one that is there}" ;;
        *) echo "no Secret $name; there are:$known" >&2 && exit 2 ;;
    esac
done
wanted="$*"
secret seldtune-storage "AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:?set both AWS keys, or none}" \
    "AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:?set both AWS keys, or none}"
# The account that sweeps write with; the Job mlflow-account makes it.
secret seldtune-mlflow MLFLOW_TRACKING_USERNAME=sweeps "MLFLOW_TRACKING_PASSWORD=$(random)"
secret seldtune-ray-token "auth_token=$(random)"
secret mlflow-server MLFLOW_AUTH_ADMIN_USERNAME=admin "MLFLOW_AUTH_ADMIN_PASSWORD=$(random)" \
    "MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)"
secret mlflow-postgres "password=$(random)"
for name; do
    case "$name" in
        seldtune-ray-token-*) secret "$name" "auth_token=$(random)" ;;
        seldtune-mlflow-next)
            secret "$name" "MLFLOW_TRACKING_USERNAME=$ACCOUNT" "MLFLOW_TRACKING_PASSWORD=$(random)" ;;
        seldtune-storage-next) secret "$name" "AWS_ACCESS_KEY_ID=$ACCOUNT" "AWS_SECRET_ACCESS_KEY=$(random)" ;;
    esac
done
