{{- define "atalaya.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "atalaya.kubeVersion" -}}
{{- default .Capabilities.KubeVersion.Version .Values.kubeVersionOverride -}}
{{- end -}}

{{- define "atalaya.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "atalaya.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "atalaya.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "atalaya.selector" -}}
app.kubernetes.io/name: {{ include "atalaya.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "atalaya.labels" -}}
{{ include "atalaya.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "atalaya.serviceAccount" -}}
{{- if .Values.agents.serviceAccount.create -}}
{{- default (include "atalaya.fullname" .) .Values.agents.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.agents.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "atalaya.image" -}}
{{- $image := .Values.agents.image -}}
{{- $name := $image.name -}}
{{- if $image.repository -}}{{- $name = printf "%s/%s" (trimSuffix "/" $image.repository) $image.name -}}{{- end -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}

{{/* What both programs read. */}}
{{- define "atalaya.env" -}}
{{- $runtime := .Values.datadog.securityAgent.runtime -}}
- name: DD_HOSTNAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: DD_LOG_LEVEL
  value: {{ .Values.datadog.logLevel | quote }}
{{- with .Values.datadog.tags }}
- name: DD_TAGS
  value: {{ join " " . | quote }}
{{- end }}
- name: DD_RUNTIME_SECURITY_CONFIG_ENABLED
  value: {{ $runtime.enabled | quote }}
- name: DD_RUNTIME_SECURITY_CONFIG_NETWORK_ENABLED
  value: {{ $runtime.network.enabled | quote }}
{{- if not (kindIs "invalid" $runtime.network.classifierPriority) }}
- name: DD_RUNTIME_SECURITY_CONFIG_NETWORK_CLASSIFIER_PRIORITY
  value: {{ $runtime.network.classifierPriority | int | quote }}
{{- end }}
{{- with .Values.datadog.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
What system-probe may do. It drops what it does not need by itself. SYS_ADMIN stands for BPF and PERFMON, which not every container runtime
knows, and is what entering the network namespaces of pods takes.
*/}}
{{- define "atalaya.probeSecurityContext" -}}
runAsUser: 0
runAsGroup: 0
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add:
    - SYS_ADMIN
    - SYS_PTRACE
    - DAC_READ_SEARCH
    - CHOWN
    - SYS_NICE
    - SYSLOG
    {{- if .Values.datadog.securityAgent.runtime.network.enabled }}
    - NET_ADMIN
    - NET_BROADCAST
    {{- end }}
seccompProfile:
  type: RuntimeDefault
{{- if semverCompare ">=1.30.0-0" (include "atalaya.kubeVersion" .) }}
appArmorProfile:
  type: Unconfined
{{- end }}
{{- end -}}

{{- define "atalaya.agentSecurityContext" -}}
runAsUser: 10001
runAsGroup: 10001
runAsNonRoot: true
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
