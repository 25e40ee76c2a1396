# The reconciler: one static binary under nobody's user, and nothing else, not even a base image that would have to be kept up to
# date. `scripts/reconciler` builds the binary; the release workflow puts it at dist/<architecture>/ and builds this.
FROM scratch
ARG TARGETARCH
COPY dist/${TARGETARCH}/mcpserver-scaling-reconciler /mcpserver-scaling-reconciler
USER 65532:65532
ENTRYPOINT ["/mcpserver-scaling-reconciler"]
CMD ["run"]
