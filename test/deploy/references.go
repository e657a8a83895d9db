package deploy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// secrets are what docs/kubernetes.md has the operator make, with their keys.
type secrets map[string][]string

// problems lists what does not fit together: names that nothing has, selectors that choose nothing, files that are mounted nowhere, ports that
// nobody listens on.
func (c *cluster) problems(given secrets) []string {
	var found []string
	report := func(o object, format string, args ...any) {
		found = append(found, strings.ToLower(kind(o))+" "+o.GetNamespace()+"/"+o.GetName()+": "+fmt.Sprintf(format, args...))
	}
	for _, o := range c.objects {
		if kind(o) != "Namespace" && c.find("Namespace", "", o.GetNamespace()) == nil {
			report(o, "there is no namespace %q", o.GetNamespace())
		}
	}
	for _, w := range c.workloads() {
		problem := func(format string, args ...any) { report(w.object, format, args...) }
		if hit, err := selects(w.selector, w.template.Labels); err != nil || !hit || len(w.selector.MatchLabels) == 0 {
			problem("its selector does not choose its own pods (%v)", err)
		}
		if account := w.template.Spec.ServiceAccountName; account != "" && c.find("ServiceAccount", w.GetNamespace(), account) == nil {
			problem("there is no service account %s", account)
		}
		for _, x := range c.workloads() {
			if x.String() != w.String() && x.GetNamespace() == w.GetNamespace() {
				if hit, _ := selects(w.selector, x.template.Labels); hit {
					problem("its selector chooses the pods of %s too", x)
				}
			}
		}
		c.volumes(w, given, problem)
		for _, x := range w.containers() {
			c.container(w, x, given, func(format string, args ...any) { problem("container "+x.Name+": "+format, args...) })
		}
	}
	for _, s := range all[*corev1.Service](c) {
		chosen := c.chosen(s.Namespace, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
		if len(chosen) != 1 {
			report(s, "its selector chooses %d workloads", len(chosen))
		}
		for _, p := range s.Spec.Ports {
			for _, w := range chosen {
				if _, ok := w.port(p.TargetPort); !ok {
					report(s, "%s has no port %s", w, p.TargetPort.String())
				}
			}
		}
	}
	for _, b := range all[*policyv1.PodDisruptionBudget](c) {
		if n := len(c.chosen(b.Namespace, b.Spec.Selector)); n != 1 {
			report(b, "its selector chooses %d workloads", n)
		}
	}
	for _, w := range c.workloads() {
		if w.service != "" && c.find("Service", w.GetNamespace(), w.service) == nil {
			report(w.object, "there is no service %s", w.service)
		}
	}
	return append(found, c.policyProblems()...)
}

// chosen returns the workloads of a namespace whose pods a selector admits.
func (c *cluster) chosen(namespace string, s *metav1.LabelSelector) []workload {
	return slices.DeleteFunc(c.workloads(), func(w workload) bool {
		hit, err := selects(s, w.template.Labels)
		return w.GetNamespace() != namespace || err != nil || !hit
	})
}

// port returns the number of a port that one of the containers declares.
func (w workload) port(p intstr.IntOrString) (int32, bool) {
	for _, x := range w.containers() {
		for _, declared := range x.Ports {
			if p.Type == intstr.String && declared.Name == p.StrVal || p.Type == intstr.Int && declared.ContainerPort == p.IntVal {
				return declared.ContainerPort, true
			}
		}
	}
	return 0, false
}

// content returns the names of the files that a volume has, and whether they are known.
func (c *cluster) content(namespace string, v corev1.Volume, given secrets) (files []string, known bool, problem string) {
	switch {
	case v.ConfigMap != nil:
		m, ok := c.find("ConfigMap", namespace, v.ConfigMap.Name).(*corev1.ConfigMap)
		if !ok {
			return nil, false, "there is no config map " + v.ConfigMap.Name
		}
		for name := range m.Data {
			files = append(files, name)
		}
		return files, true, ""
	case v.Secret != nil:
		keys, ok := given[namespace+"/"+v.Secret.SecretName]
		if !ok {
			return nil, false, "nobody makes the secret " + v.Secret.SecretName
		}
		return keys, true, ""
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken == nil {
				return nil, false, "a projected source that this test does not know"
			}
			files = append(files, s.ServiceAccountToken.Path)
		}
		return files, true, ""
	case v.EmptyDir != nil:
		return nil, false, ""
	}
	return nil, false, "a kind of volume that this test does not know"
}

func (c *cluster) volumes(w workload, given secrets, problem func(string, ...any)) {
	used := map[string]bool{}
	for _, x := range w.containers() {
		for _, m := range x.VolumeMounts {
			used[m.Name] = true
			if _, ok := w.volume(m.Name); !ok && !slices.Contains(w.claims, m.Name) {
				problem("container %s mounts %s, which is no volume", x.Name, m.Name)
			}
		}
	}
	for _, v := range w.template.Spec.Volumes {
		if !used[v.Name] {
			problem("nothing mounts the volume %s", v.Name)
		}
		if _, _, text := c.content(w.GetNamespace(), v, given); text != "" {
			problem("volume %s: %s", v.Name, text)
		}
	}
}

func (w workload) volume(name string) (corev1.Volume, bool) {
	i := slices.IndexFunc(w.template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	if i < 0 {
		return corev1.Volume{}, false
	}
	return w.template.Spec.Volumes[i], true
}

// pinned is an image of a fixed version.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:\d+(\.\d+)+(-[a-z]+)?$`)

func (c *cluster) container(w workload, x corev1.Container, given secrets, problem func(string, ...any)) {
	if !c.images[x.Image] && !pinned.MatchString(x.Image) {
		problem("image %s is neither of a fixed version nor named by a kustomization", x.Image)
	}
	if x.Resources.Requests.Cpu().IsZero() || x.Resources.Requests.Memory().IsZero() || x.Resources.Limits.Memory().IsZero() {
		problem("it says not what it needs: cpu and memory requests, and a memory limit")
	}
	if x.SecurityContext == nil || x.SecurityContext.ReadOnlyRootFilesystem == nil || !*x.SecurityContext.ReadOnlyRootFilesystem {
		problem("it may write into its image")
	}
	for _, e := range x.Env {
		if e.ValueFrom == nil {
			continue
		}
		ref := e.ValueFrom.SecretKeyRef
		if ref == nil || !slices.Contains(given[w.GetNamespace()+"/"+ref.Name], ref.Key) {
			problem("environment %s: nobody makes that secret", e.Name)
		}
	}
	for _, name := range slices.Concat(x.Command, x.Args) {
		if strings.HasPrefix(name, "/etc/") {
			if text := c.file(w, x, given, name); text != "" {
				problem("%s: %s", name, text)
			}
		}
	}
	if x.Image == "keybearer" {
		c.keybearer(w, x, given, problem)
	}
}

var (
	absolute = regexp.MustCompile(`(?m)(?:^|[\s{.])(/[a-z][A-Za-z0-9/._-]*)`)
	listens  = regexp.MustCompile(`(?m)^http://:(\d+) \{\n\tbind (\S+)$`)
	grace    = regexp.MustCompile(`(?m)^\tgrace_period (\d+)s$`)
	roles    = regexp.MustCompile(`(?m)^\s*role (\S+)$`)
)

// keybearer judges a container of ours by its Caddyfile: that every file is there, and that it listens where the pod says so.
func (c *cluster) keybearer(w workload, x corev1.Container, given secrets, problem func(string, ...any)) {
	text, ok := c.caddyfile(w, x)
	if !ok {
		problem("it has no Caddyfile")
		return
	}
	for _, m := range absolute.FindAllStringSubmatch(text, -1) {
		if problemText := c.file(w, x, given, m[1]); problemText != "" {
			problem("Caddyfile: %s: %s", m[1], problemText)
		}
	}
	var open []string
	for _, m := range listens.FindAllStringSubmatch(text, -1) {
		if m[2] != "127.0.0.1" {
			open = append(open, m[1])
		}
	}
	var declared []string
	for _, p := range x.Ports {
		declared = append(declared, strconv.Itoa(int(p.ContainerPort)))
	}
	if !slices.Equal(open, declared) {
		problem("it listens on %q and declares %q", open, declared)
	}
	before := int64(0)
	if x.Lifecycle != nil {
		before = x.Lifecycle.PreStop.Sleep.Seconds
	}
	if m := grace.FindStringSubmatch(text); m == nil {
		problem("its Caddyfile has no grace_period in seconds")
	} else if n, err := strconv.ParseInt(m[1], 10, 64); err != nil || n+before >= *w.template.Spec.TerminationGracePeriodSeconds {
		problem("it is killed before its requests are done: %ss of grace after %ds", m[1], before)
	}
	for _, probe := range []*corev1.Probe{x.StartupProbe, x.ReadinessProbe, x.LivenessProbe} {
		if probe == nil || probe.Exec == nil || probe.Exec.Command[0] != "/usr/bin/keybearer" {
			problem("a probe is missing, or is not the binary's own")
		}
	}
}

// caddyfile returns the one that the container is started with.
func (c *cluster) caddyfile(w workload, x corev1.Container) (string, bool) {
	if !slices.Equal(x.Args, []string{"run", "--config", "/etc/keybearer/Caddyfile"}) {
		return "", false
	}
	for _, m := range x.VolumeMounts {
		if v, ok := w.volume(m.Name); ok && m.MountPath == "/etc/keybearer" && v.ConfigMap != nil {
			if config, ok := c.find("ConfigMap", w.GetNamespace(), v.ConfigMap.Name).(*corev1.ConfigMap); ok {
				text, ok := config.Data["Caddyfile"]
				return text, ok
			}
		}
	}
	return "", false
}

// file says what is wrong with a path as a container sees it; "" if it is there, or may be made there.
func (c *cluster) file(w workload, x corev1.Container, given secrets, name string) string {
	for _, m := range x.VolumeMounts {
		rest, ok := strings.CutPrefix(name, m.MountPath+"/")
		if !ok {
			continue
		}
		v, ok := w.volume(m.Name)
		if !ok { // claimed for each pod
			return ""
		}
		files, known, _ := c.content(w.GetNamespace(), v, given)
		switch {
		case !known && m.ReadOnly:
			return "nobody can write it"
		case !known, slices.Contains(files, path.Clean(rest)):
			return ""
		}
		return fmt.Sprintf("%s has only %q", m.Name, files)
	}
	return "it is mounted nowhere"
}
