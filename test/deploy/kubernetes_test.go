package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const manifests = "../../deploy/kubernetes/"

// everything is all that can be applied at once; fence is sidecar with more in it.
var everything = []string{manifests + "control", manifests + "gateway", manifests + "app", manifests + "sidecar"}

// made are the secrets that docs/kubernetes.md makes.
var made = secrets{
	"keybearer/keybearer":    {"dsn", "store-ca.pem", "vault-address", "vault-ca.pem"},
	"booking/keybearer":      {"dsn", "store-ca.pem", "vault-address", "vault-ca.pem"},
	"shop/billing-keybearer": {"proxy"},
}

func mustLoad(t *testing.T, dirs ...string) *cluster {
	t.Helper()
	c, err := load(nil, dirs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every manifest is one that the API server takes: each field known, written once, and in the right case. And what they name is there.
func TestTheManifestsAreStrictAndFitEachOther(t *testing.T) {
	for _, dirs := range [][]string{everything, {manifests + "gateway"}, {manifests + "control"}, {manifests + "sidecar"}, {manifests + "fence"}} {
		c := mustLoad(t, dirs...)
		for _, p := range c.problems(made) {
			t.Errorf("%s: %s", dirs, p)
		}
	}
	if n := len(mustLoad(t, everything...).objects); n != 22 {
		t.Errorf("%d objects, not 22: if that is right, write it here", n)
	}
	// Nothing lies beside what is applied.
	named := map[string]bool{}
	for _, dir := range append(everything, manifests+"fence") {
		_, err := load(func(file, text string) string { named[file] = true; return text }, dir)
		if err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(manifests + "*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !named[filepath.ToSlash(f)] {
			t.Errorf("%s is in no kustomization", f)
		}
	}
}

// What the tests above would say of mistakes that people make.
func TestAMistakeInAManifestIsFound(t *testing.T) {
	for _, mistake := range []struct{ name, file, old, new, want string }{
		{"a field in another case", "gateway/gateway.yaml", "readOnlyRootFilesystem: true", "readonlyRootFilesystem: true", `unknown field "spec.template.spec.initContainers[0].securityContext.readonlyRootFilesystem"`},
		{"a field at the wrong level", "sidecar/app.yaml", "          restartPolicy: Always\n          command", "          restartPolicies: Always\n          command", "unknown field"},
		{"a field twice", "gateway/gateway.yaml", "  replicas: 2\n", "  replicas: 2\n  replicas: 3\n", `key "replicas" already set`},
		{"a kind that there is not", "control/network.yaml", "kind: NetworkPolicy", "kind: NetworkPolicies", "no kind"},
		{"an old version of the API", "gateway/gateway.yaml", "policy/v1\n", "policy/v1beta1\n", "no kind"},
		{"a field of a kustomization", "gateway/kustomization.yaml", "resources:", "resource:", "unknown field"},
		{"a patch that finds nothing", "fence/kustomization.yaml", "kind: Deployment", "kind: StatefulSet", "nothing is StatefulSet booking"},
		{"a selector", "gateway/gateway.yaml", "component: gateway\n  template", "component: gateways\n  template", "does not choose its own pods"},
		{"a service's selector", "gateway/gateway.yaml", "component: gateway\n  ports", "component: proxy\n  ports", "its selector chooses 0 workloads"},
		{"a service that chooses the operators' server too", "gateway/gateway.yaml", "    app.kubernetes.io/component: gateway\n  ports", "  ports", "its selector chooses 2 workloads"},
		{"a budget's selector", "gateway/gateway.yaml", "  maxUnavailable: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: keybearer\n", "  maxUnavailable: 1\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: gateway\n", "its selector chooses 0 workloads"},
		{"a policy's selector", "gateway/network.yaml", "component: gateway", "component: gateways", "it chooses no pod"},
		{"a peer that nobody is", "app/network.yaml", "component: gateway", "component: gateways", "no pod of keybearer is chosen"},
		{"a peer that became two", "app/network.yaml", "          podSelector:\n            matchLabels:\n              app.kubernetes.io/name: keybearer", "        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: keybearer", "no pod of shop is chosen"},
		{"a rule for everybody", "app/network.yaml", "    - to:\n        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}\n          podSelector: {matchLabels: {k8s-app: kube-dns}}\n      ports", "    - ports", "an Egress rule is for everybody"},
		{"a target port", "gateway/gateway.yaml", "targetPort: proxy", "targetPort: proxies", "has no port proxies"},
		{"a port that nobody listens on", "gateway/gateway.yaml", "containerPort: 9080", "containerPort: 8080", `it listens on ["9080" "9083"] and declares ["8080" "9083"]`},
		{"a config map", "gateway/gateway.yaml", "configMap:\n            name: gateway", "configMap:\n            name: keybearer", "there is no config map keybearer"},
		{"a secret", "gateway/gateway.yaml", "secretName: keybearer", "secretName: backends", "nobody makes the secret backends"},
		{"a key of a secret", "app/app.yaml", "key: proxy", "key: url", "environment HTTP_PROXY: nobody makes that secret"},
		{"a file of a secret", "gateway/config.yaml", "keybearer/vault-ca.pem", "keybearer/ca.pem", "backends has only"},
		{"a path that is mounted nowhere", "sidecar/config.yaml", "audit file /audit/", "audit file /var/log/", "it is mounted nowhere"},
		{"a script's name", "sidecar/app.yaml", "/etc/keybearer/audit.sh", "/etc/keybearer/rotate.sh", "/etc/keybearer/rotate.sh: config has only"},
		{"a service account", "sidecar/app.yaml", "serviceAccountName: booking", "serviceAccountName: default-booking", "there is no service account default-booking"},
		{"a volume", "sidecar/app.yaml", "- name: data\n          emptyDir", "- name: home\n          emptyDir", "mounts data, which is no volume"},
		{"a namespace", "sidecar/config.yaml", "namespace: booking", "namespace: bookings", `there is no namespace "bookings"`},
		{"a probe", "gateway/gateway.yaml", "livenessProbe:", "readinessProbe2:", "unknown field"},
		{"too little time to end", "gateway/gateway.yaml", "terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 30", "it is killed before its requests are done: 25s of grace after 5s"},
		{"an image without a version", "app/app.yaml", "curlimages/curl:8.17.0", "curlimages/curl:latest", "neither of a fixed version"},
		{"a container without a limit", "app/app.yaml", "            limits: {memory: 64Mi}\n", "", "it says not what it needs"},
	} {
		t.Run(mistake.name, func(t *testing.T) {
			dirs := everything
			if strings.HasPrefix(mistake.file, "fence/") {
				dirs = []string{manifests + "fence"}
			}
			hit := false
			c, err := load(func(file, text string) string {
				if strings.HasSuffix(file, mistake.file) {
					changed := strings.Replace(text, mistake.old, mistake.new, 1)
					hit = changed != text
					return changed
				}
				return text
			}, dirs...)
			if !hit {
				t.Fatalf("%s does not hold %q", mistake.file, mistake.old)
			}
			got := fmt.Sprint(err)
			if err == nil {
				got = strings.Join(c.problems(made), "\n")
			}
			if !strings.Contains(got, mistake.want) {
				t.Errorf("found %s\nnot %s", got, mistake.want)
			}
		})
	}
}

// Pods are as the profile "restricted" wants them, judged by what the API server judges with; but for the fence, which is only what it says.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	judge := func(w workload) string {
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &w.template.ObjectMeta, &w.template.Spec))
		if result.Allowed {
			return ""
		}
		return result.ForbiddenReason() + ": " + result.ForbiddenDetail()
	}
	c := mustLoad(t, everything...)
	for _, w := range c.workloads() {
		if text := judge(w); text != "" {
			t.Errorf("%s: %s", w, text)
		}
		n, ok := c.find("Namespace", "", w.GetNamespace()).(*corev1.Namespace)
		if !ok || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Errorf("%s: its namespace does not hold it to that", w)
		}
		if w.template.Spec.AutomountServiceAccountToken == nil || *w.template.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: every container gets a token of the API server's", w)
		}
	}
	fence := mustLoad(t, manifests+"fence").workloads()[0]
	const only = `restricted volume types`
	if text := judge(fence); !strings.Contains(text, "NET_ADMIN") || strings.Contains(text, only) {
		t.Errorf("the fence asks for %q", text)
	}
	fence.template.Spec.InitContainers = fence.template.Spec.InitContainers[1:]
	if text := judge(fence); text != "" {
		t.Errorf("beside its first container the fence is %s", text)
	}
}

// In both forms nothing but Keybearer's container has what opens a secret: the login to Vault, the store's password; and the app has neither its socket nor its user.
func TestOnlyKeybearerHoldsWhatOpens(t *testing.T) {
	for _, w := range mustLoad(t, append(slices.Clone(everything[:3]), manifests+"fence")...).workloads() {
		for _, x := range w.containers() {
			for _, m := range x.VolumeMounts {
				v, _ := w.volume(m.Name)
				sensitive := v.Secret != nil || v.Projected != nil || m.MountPath == "/data"
				if sensitive && x.Image != "keybearer" {
					t.Errorf("%s: %s mounts %s", w, x.Name, m.Name)
				}
			}
			if x.Image != "keybearer" && x.Name != "audit" {
				context, pod := x.SecurityContext, w.template.Spec.SecurityContext
				user := pod.RunAsUser
				if context.RunAsUser != nil {
					user = context.RunAsUser
				}
				if user == nil || *user == 65532 {
					t.Errorf("%s: %s runs as Keybearer's user, or as whoever its image says", w, x.Name)
				}
			}
		}
		if s := w.template.Spec; s.HostNetwork || s.HostPID || s.ShareProcessNamespace != nil {
			t.Errorf("%s shares more than a pod does", w)
		}
	}
}

// The sidecar is a native one: an init container that keeps running, started before the app, which waits for its startup probe.
func TestTheSidecarIsThereBeforeTheApp(t *testing.T) {
	for _, dir := range []string{"sidecar", "fence"} {
		w := mustLoad(t, manifests+dir).workloads()[0]
		var order []string
		for _, x := range w.template.Spec.InitContainers {
			name := x.Name
			if x.RestartPolicy != nil && *x.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				name += " (stays)"
			}
			order = append(order, name)
		}
		want := map[string][]string{"sidecar": {"audit (stays)", "keybearer (stays)"}, "fence": {"fence", "audit (stays)", "keybearer (stays)"}}[dir]
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
}

// The Caddyfiles are formatted, and the real binary takes them; the parts that the forms have in common are the same to the letter.
func TestTheCaddyfilesAreTaken(t *testing.T) {
	c := mustLoad(t, everything...)
	scripts := map[string]bool{}
	n := 0
	for _, m := range all[*corev1.ConfigMap](c) {
		n++
		take(t, m.Name, m.Data["Caddyfile"])
		scripts[m.Data["audit.sh"]] = true
	}
	if n != 3 || len(scripts) != 1 {
		t.Errorf("%d config maps with %d scripts, not 3 with the same one", n, len(scripts))
	}
}

// take has the binary read a Caddyfile.
func take(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"adapt", "--config", file}, {"fmt", "--diff", file}} {
		if out, err := keybearer(t, args...); err != nil {
			t.Errorf("%s: %s: %v\n%s", name, args[0], err, out)
		}
	}
}

// The roles that the Caddyfiles log in with are those that the page makes.
func TestTheRolesAreMade(t *testing.T) {
	page := page(t, "kubernetes.md")
	written := regexp.MustCompile(`(?m)^vault write auth/kubernetes/role/(\S+)`)
	var made, named []string
	for _, m := range written.FindAllStringSubmatch(page, -1) {
		made = append(made, m[1])
	}
	for _, m := range all[*corev1.ConfigMap](mustLoad(t, everything...)) {
		for _, r := range roles.FindAllStringSubmatch(m.Data["Caddyfile"], -1) {
			named = append(named, r[1])
		}
	}
	slices.Sort(made)
	slices.Sort(named)
	if diff := cmp.Diff(made, slices.Compact(named)); diff != "" || len(made) == 0 {
		t.Errorf("made by the page, and named by the Caddyfiles: %s", diff)
	}
}
