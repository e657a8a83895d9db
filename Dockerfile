# A static binary, the system's certificate roots, and one directory that the server may write to.
#
#   docker build -t keybearer .
#   docker run -p 127.0.0.1:9080:9080 -v keybearer:/data keybearer
#   docker exec <container> keybearer scope list

# The Go of go.mod and of the release, so that the binary is the release's, byte for byte.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown TARGETOS TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make rootfs ROOTFS=/rootfs VERSION=$VERSION

FROM scratch
COPY --from=build /rootfs /
COPY --from=build --chown=65532:65532 /rootfs/data /data
ENV PATH=/usr/bin
ENV HOME=/data
ENV KEYBEARER_HOME=/data
# All interfaces, but of the container: publish the port where only the apps can reach it.
ENV KEYBEARER_BIND=0.0.0.0
EXPOSE 9080
VOLUME /data
WORKDIR /data
USER 65532:65532
# 0 when all is well; 1 when something has failed, 6 when the server does not answer: both are unhealthy.
HEALTHCHECK --start-period=20s --timeout=10s CMD ["/usr/bin/keybearer", "health"]
ENTRYPOINT ["/usr/bin/keybearer"]
CMD ["run"]
