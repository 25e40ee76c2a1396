{{- define "scaling.selector" -}}
app.kubernetes.io/name: mcpserver-scaling-reconciler
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "scaling.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* name:tag, or name@digest. Rancher's default registry takes the place of ghcr.io; a name in another registry was chosen by the user. */}}
{{- define "scaling.reference" -}}
{{- $name := .name }}
{{- with (((.root.Values.global).cattle).systemDefaultRegistry) }}{{ $name = regexReplaceAll "^ghcr\\.io/" $name (printf "%s/" .) }}{{ end -}}
{{- if .digest }}{{ $name }}@{{ .digest }}{{ else }}{{ $name }}:{{ .tag }}{{ end }}
{{- end }}

{{/* The fields that all policies have in common. */}}
{{- define "scaling.module" -}}
module: registry://{{ include "scaling.reference" (dict "root" . "name" .Values.policy.module "digest" .Values.policy.digest "tag" (.Values.policy.tag | default (printf "v%s" .Chart.AppVersion))) }}
policyServer: {{ .Values.policy.policyServer }}
# What the policy may read. The service account of the policy server needs the right as well. HorizontalPodAutoscalers are read with
# the setting readAutoscalers only: an entry alone makes the host read nothing, so that it needs no right.
contextAwareResources:
  {{- range $kind := list "MCPServer" "VirtualMCPServer" "MCPRemoteProxy" "EmbeddingServer" }}
  - {apiVersion: toolhive.stacklok.dev/v1beta1, kind: {{ $kind }}}
  - {apiVersion: toolhive.stacklok.dev/v1alpha1, kind: {{ $kind }}}
  {{- end }}
  - {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler}
{{- with .Values.policy.namespaceSelector }}
namespaceSelector:
  {{- toYaml . | nindent 2 }}
{{- else }}
# To include only some namespaces (Kubewarden's own is excluded without allowInsideAdmissionControllerNamespace). Only
# matchExpressions: Kubewarden's controller ignores matchLabels here, and the policy would apply to all namespaces.
# namespaceSelector:
#   matchExpressions:
#     - {key: mcp-scaling, operator: In, values: [enforced]}
{{- end }}
{{- end }}

{{- define "scaling.settings" -}}
{{- if . -}}
settings:
  {{- toYaml . | nindent 2 }}
{{- else -}}
settings: {}
{{- end }}
{{- end }}

{{/* The rules, match conditions and timeouts of policy, guard and monitor. Takes the version of ToolHive's kinds. */}}
{{- define "scaling.counts" -}}
# ToolHive's kinds, and the resources through which a count is written.
# The audit scanner gives up on a policy if the cluster does not serve one of its resources in one of its versions, and passes over
# rules with a wildcard. For guard and monitor to report on ToolHive's kinds as well, replace "*" by one version that the cluster
# serves: v1beta1, or v1alpha1 before ToolHive v0.23. The chart does that by itself.
rules:
  - apiGroups: [toolhive.stacklok.dev]
    apiVersions: [{{ . | quote }}]
    resources: [mcpservers, virtualmcpservers, mcpremoteproxies]
    operations: [CREATE, UPDATE]
  - apiGroups: [apps]
    apiVersions: [v1]
    resources: [deployments, statefulsets]
    operations: [CREATE, UPDATE]
  # What `kubectl scale` and autoscalers write. Only UPDATE, because nobody creates a Scale, and the audit scanner would try to list
  # a resource with CREATE, which a Scale cannot be.
  - apiGroups: [apps]
    apiVersions: [v1]
    resources: [deployments/scale, statefulsets/scale]
    operations: [UPDATE]
# The API server asks only about what belongs to ToolHive. A Deployment or StatefulSet has the label, or an owner if it is from
# before there was the label, before or after the change. A Scale has only the label selector of its workload, which the API server
# itself sets in the old object: that of a Deployment contains the label, that of a StatefulSet is app=<name>, which others use too.
# request.subResource is absent in requests for the object itself, so that it may be read only after has().
matchConditions:
  - name: toolhive-workloads
    expression: >-
      request.resource.group != 'apps' ||
      (has(request.subResource)
        ? (request.resource.resource == 'statefulsets'
          ? oldObject.?status.?selector.orValue('app=' + request.name) == 'app=' + request.name
          : oldObject.?status.?selector.orValue('toolhive=true').contains('toolhive=true'))
        : [object, oldObject].exists(o, o != null && (
          (has(o.metadata.labels) && 'toolhive' in o.metadata.labels) ||
          (has(o.metadata.ownerReferences) && o.metadata.ownerReferences.exists(r, r.apiVersion.startsWith('toolhive.stacklok.dev/'))))))
  # Nor does it ask about what no rule changes: an object that is already being deleted; a count of 0 or 1 that an autoscaler writes
  # to a Scale, in which 0 is absent; and a StatefulSet at 0 or 1 whose spec stays as it is, as when ToolHive's operator adopts it.
  - name: not-being-deleted
    expression: oldObject == null || !has(oldObject.metadata.deletionTimestamp)
  - name: rules-apply
    expression: >-
      request.resource.group != 'apps' || request.operation != 'UPDATE' ||
      (has(request.subResource)
        ? object.?spec.?replicas.orValue(0) > 1 || !(request.userInfo.username in [
          'system:kube-controller-manager', 'system:serviceaccount:kube-system:horizontal-pod-autoscaler'])
        : request.resource.resource != 'statefulsets' || object.?spec.?replicas.orValue(1) > 1 ||
          object.?spec != oldObject.?spec)
# An evaluation takes less than a millisecond, and some milliseconds with a lookup. The timeout of the webhook must be the longer one.
timeoutEvalSeconds: 3
timeoutSeconds: 10
{{- end }}

{{/*
The version of ToolHive's kinds in the rules of policies that the audit scanner evaluates. The scanner gives up on a policy if the
cluster does not serve a version, and passes over rules with "*". So this is one version that the cluster serves, or "*" if that is
not known: in `helm template` without --api-versions, or if ToolHive is not installed.
*/}}
{{- define "scaling.auditedVersion" -}}
{{- if .Capabilities.APIVersions.Has "toolhive.stacklok.dev/v1beta1/MCPServer" -}}
v1beta1
{{- else if .Capabilities.APIVersions.Has "toolhive.stacklok.dev/v1alpha1/MCPServer" -}}
v1alpha1
{{- else -}}
*
{{- end -}}
{{- end }}

{{- define "scaling.annotations" -}}
io.kubewarden.policy.title: mcpserver-scaling-policy
io.kubewarden.policy.severity: medium
io.kubewarden.policy.category: Resource validation
{{- end }}
