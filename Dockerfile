# A node in a container: one static program, its data in the volume /data, as a user without
# rights. docs/OPERATIONS.md says how to run it.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.stamped=${VERSION}" -o /macula-node ./cmd/macula-node
RUN mkdir /data && chmod 700 /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /macula-node /usr/local/bin/macula-node
# the volume is made with its owner
COPY --from=build --chown=65532:65532 /data /data
ENV MACULA_DATA_DIR=/data
VOLUME /data
# peers, of both kinds
EXPOSE 9443/udp
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/usr/local/bin/macula-node", "status", "--alive"]
ENTRYPOINT ["/usr/local/bin/macula-node"]
CMD ["run"]
