# The image of the reconciler: one static binary that runs as an unprivileged user, without a base image that would need
# updates. scripts/reconciler builds the binary, which dist/<architecture>/ must have before the image is built; Docker's names of the
# architectures are amd64 and arm64.
FROM scratch
ARG TARGETARCH
# The mode, because an archive of the workflow does not keep it.
COPY --chmod=0755 dist/${TARGETARCH}/mcpserver-scaling-reconciler /mcpserver-scaling-reconciler
USER 65532:65532
ENTRYPOINT ["/mcpserver-scaling-reconciler"]
CMD ["run"]
