# vqkit on the CPU, with exactly the versions of constraints.txt:
#   docker build -t vqkit .
# With --build-arg TORCH_INDEX=URL, PyTorch comes from there: an index of builds for the CPU, without the GPU libraries, makes a much
# smaller image.
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" vqkit inpaint sections --keep group_nc
# Runs and results are written below the directory that is mounted as /work.
FROM python:3.13-slim AS build

RUN python -m venv /opt/vqkit
ENV PATH=/opt/vqkit/bin:$PATH
COPY constraints.txt /build/
WORKDIR /build
# PyTorch in a layer of its own: it is the same for most changes.
ARG TORCH_INDEX
RUN pip install --no-cache-dir -c constraints.txt torch torchvision ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir -c constraints.txt . && pip check

FROM python:3.13-slim

COPY --from=build /opt/vqkit /opt/vqkit
RUN useradd --create-home --uid 1000 vqkit && mkdir /work && chown vqkit /work
# Matplotlib keeps its fonts in a folder that any user may write to, whoever --user names.
ENV PATH=/opt/vqkit/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib
USER vqkit
WORKDIR /work
ENTRYPOINT ["vqkit"]
CMD ["--help"]
