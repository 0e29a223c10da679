# The image of the MNIST trainers: TensorFlow, the launcher without its extras, the trainers.
#
#   docker build -f mnist.Dockerfile -t mnist .       or: launch build
#   … --build-arg BASE_IMAGE=tensorflow/tensorflow:2.21.0-gpu       for NVIDIA GPUs
#   … --build-arg RUN_AS=0:0                 where only root may write to the results' store
#
# What changes most often comes last, so that a changed line is one small layer to send to hosts.
ARG BASE_IMAGE=tensorflow/tensorflow:2.21.0
FROM ${BASE_IMAGE}
ARG BASE_IMAGE

# PyYAML is all that the trainers need beyond TensorFlow: a base that has it needs no network here.
# The launcher is plain Python, so it is put on the interpreter's path as it is. Any user may write
# results: a cluster's tasks can be run as any. Some platforms start /usr/bin/python, whatever
# `python` is; a link would be another one where `python` is a virtual environment's.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python -m pip install --no-cache-dir --quiet 'pyyaml>=6.0.2' \
 && python -c 'import sys; sys.version_info >= (3, 11) or sys.exit("expected Python >= 3.11")' \
 && purelib="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && echo /opt/launch >"$purelib/launch.pth" \
 && printf '#!%s\nfrom launcher.cli import entry\n\nentry()\n' "$(command -v python)" \
    >/usr/local/bin/launch && chmod 755 /usr/local/bin/launch \
 && prefix='import sys; print(sys.prefix)' \
 && if [ "$(/usr/bin/python -c "$prefix" 2>/dev/null)" != "$(python -c "$prefix")" ]; then \
      rm -f /usr/bin/python \
      && printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v python)" >/usr/bin/python \
      && chmod 755 /usr/bin/python; \
    fi \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp trainer \
 && mkdir -p /data/data /data/output && chmod 1777 /data/output

LABEL org.opencontainers.image.title="mnist" \
      org.opencontainers.image.description="MNIST trainers for TF_CONFIG clusters" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

# A home that whoever runs the container can write to: Keras keeps its settings there.
ENV HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /data
ARG RUN_AS=10001:10001
USER ${RUN_AS}

# `launch exec` puts any TF_CONFIG into the form that TensorFlow 2 takes, then becomes the command.
ENTRYPOINT ["launch", "exec", "--"]
CMD ["python", "/data/mnist_dist.py"]

COPY trainers/data/mnist.npz /data/data/
COPY launcher /opt/launch/launcher
COPY trainers/*.py /data/
