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

{{/* The fields that policy, guard and monitor have in common. */}}
{{- define "scaling.admission" -}}
module: registry://{{ include "scaling.reference" (dict "root" . "name" .Values.policy.module "digest" .Values.policy.digest "tag" (.Values.policy.tag | default (printf "v%s" .Chart.AppVersion))) }}
policyServer: {{ .Values.policy.policyServer }}
rules:
  - apiGroups: [toolhive.stacklok.dev]
    apiVersions: [v1alpha1, v1beta1]
    resources: [mcpservers, virtualmcpservers, mcpremoteproxies]
    operations: [CREATE, UPDATE]
  - apiGroups: [apps]
    apiVersions: [v1]
    resources: [deployments, statefulsets]
    operations: [CREATE, UPDATE]
  - apiGroups: [apps]
    apiVersions: [v1]
    resources: [deployments/scale, statefulsets/scale]
    operations: [UPDATE]
  - apiGroups: [autoscaling]
    apiVersions: [v1, v2]
    resources: [horizontalpodautoscalers]
    operations: [CREATE, UPDATE]
  - apiGroups: [keda.sh]
    apiVersions: [v1alpha1]
    resources: [scaledobjects]
    operations: [CREATE, UPDATE]
contextAwareResources:
  {{- range $kind := list "MCPServer" "VirtualMCPServer" "MCPRemoteProxy" }}
  - {apiVersion: toolhive.stacklok.dev/v1beta1, kind: {{ $kind }}}
  - {apiVersion: toolhive.stacklok.dev/v1alpha1, kind: {{ $kind }}}
  {{- end }}
matchConditions:
  - name: toolhive-workloads
    expression: >-
      request.resource.group != 'apps' || has(request.subResource) ||
      [object, oldObject].exists(o, o != null && (
        (has(o.metadata.labels) && 'toolhive' in o.metadata.labels) ||
        (has(o.metadata.ownerReferences) && o.metadata.ownerReferences.exists(r, r.apiVersion.startsWith('toolhive.stacklok.dev/')))))
timeoutEvalSeconds: 3
timeoutSeconds: 10
{{- with .Values.policy.namespaceSelector }}
namespaceSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "scaling.annotations" -}}
io.kubewarden.policy.title: mcpserver-scaling-policy
io.kubewarden.policy.severity: medium
io.kubewarden.policy.category: Resource validation
{{- end }}
