# The image of the reconciler: one static binary that runs as an unprivileged user, without a base image that would need
# updates. The release workflow builds the binary with scripts/reconciler and puts it into dist/<architecture>/.
FROM scratch
ARG TARGETARCH
COPY dist/${TARGETARCH}/mcpserver-scaling-reconciler /mcpserver-scaling-reconciler
USER 65532:65532
ENTRYPOINT ["/mcpserver-scaling-reconciler"]
CMD ["run"]
