package deploy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// others are what is in a cluster and around it beside ours. A stranger is a pod of a namespace without policies.
func others() []endpoint {
	pod := func(namespace, name string, labels map[string]string) endpoint {
		return endpoint{name: namespace + "/" + name, namespace: namespace, namespaces: named(namespace, nil), labels: labels}
	}
	outside := func(addr, what string) endpoint { return endpoint{name: what, addr: netip.MustParseAddr(addr)} }
	return []endpoint{
		pod("kube-system", "dns", map[string]string{"k8s-app": "kube-dns"}),
		pod("kube-system", "other", map[string]string{"k8s-app": "metrics-server"}),
		pod("vault", "vault", map[string]string{"app.kubernetes.io/name": "vault"}),
		pod("vault", "other", nil),
		pod("postgres", "postgres", nil),
		pod("monitoring", "prometheus", nil),
		pod("elsewhere", "stranger", map[string]string{"app.kubernetes.io/name": "keybearer", "app.kubernetes.io/component": "gateway"}),
		outside("93.184.215.14", "public"), outside("2606:2800:21f:cb07::1", "public v6"),
		outside("169.254.169.254", "metadata"), outside("fd00:ec2::254", "metadata v6"), outside("10.0.0.7", "node"), outside("192.168.1.1", "private"),
		outside("100.64.0.1", "carrier"), outside("172.31.0.1", "private too"), outside("fe80::1", "link"), outside("224.0.0.1", "multicast"),
	}
}

var ports = []port{
	{corev1.ProtocolTCP, 22},
	{corev1.ProtocolTCP, 53},
	{corev1.ProtocolUDP, 53},
	{corev1.ProtocolTCP, 80},
	{corev1.ProtocolTCP, 443},
	{corev1.ProtocolUDP, 443},
	{corev1.ProtocolTCP, 5432},
	{corev1.ProtocolTCP, 8200},
	{corev1.ProtocolTCP, 9080},
	{corev1.ProtocolTCP, 9081},
	{corev1.ProtocolTCP, 9083},
	{corev1.ProtocolTCP, 10250},
}

// ways returns every way between one of our pods and anything, either direction, that the policies leave open.
func ways(t *testing.T, c *cluster) []string {
	t.Helper()
	ours, policies := c.pods(), all[*networkingv1.NetworkPolicy](c)
	everybody := append(slices.Clone(ours), others()...)
	open := map[string]bool{}
	for _, from := range everybody {
		for _, to := range everybody {
			mine := slices.ContainsFunc(ours, func(e endpoint) bool { return e.name == from.name || e.name == to.name })
			if from.name == to.name || !mine {
				continue
			}
			for _, p := range ports {
				ok, err := reaches(policies, from, to, p)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					open[from.name+" > "+to.name+" "+p.String()] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(open))
}

// backends are the ways of every Keybearer.
func backends(pod string) []string {
	return []string{
		pod + " > kube-system/dns 53/TCP", pod + " > kube-system/dns 53/UDP", pod + " > postgres/postgres 5432/TCP", pod + " > vault/vault 8200/TCP",
		"monitoring/prometheus > " + pod + " 9083/TCP",
	}
}

// These are all the ways there are. An app of the gateway's form reaches names and the gateway; the gateway reaches what is public, and apps alone reach it; the
// operators' server reaches no destination, and nobody reaches it. A sidecar's pod reaches what its Keybearer does: policies cannot tell them apart.
func TestWhoReachesWhom(t *testing.T) {
	want := slices.Concat(
		backends("keybearer/control"),
		backends("keybearer/gateway"), []string{
			"keybearer/gateway > public 443/TCP", "keybearer/gateway > public v6 443/TCP",
			"shop/billing > keybearer/gateway 9080/TCP", "shop/billing > kube-system/dns 53/TCP", "shop/billing > kube-system/dns 53/UDP",
		},
		backends("booking/booking"), []string{"booking/booking > public 443/TCP", "booking/booking > public v6 443/TCP"},
	)
	slices.Sort(want)
	if diff := cmp.Diff(want, ways(t, mustLoad(t, everything...))); diff != "" {
		t.Error(diff)
	}
}

// The test above sees each of these.
func TestAHoleIsFound(t *testing.T) {
	base := ways(t, mustLoad(t, everything...))
	for _, hole := range []struct{ name, file, old, new, opens string }{
		{"an app may go out", "app/network.yaml", "        - {protocol: TCP, port: 9080}\n", "        - {protocol: TCP, port: 9080}\n    - to: [{ipBlock: {cidr: 0.0.0.0/0}}]\n", "shop/billing > metadata 80/TCP"},
		{"an app's policy is about coming in alone", "app/network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "shop/billing > public 443/TCP"},
		{"names are asked for anywhere", "app/network.yaml", "          podSelector: {matchLabels: {k8s-app: kube-dns}}\n", "", "shop/billing > kube-system/other 53/UDP"},
		{"an app that the policy forgets", "app/network.yaml", "podSelector: {}", "podSelector: {matchLabels: {app.kubernetes.io/name: bill}}", "shop/billing > elsewhere/stranger 22/TCP"},
		{"metadata is no exception", "gateway/network.yaml", "169.254.0.0/16, ", "", "keybearer/gateway > metadata 443/TCP"},
		{"every port of a destination", "gateway/network.yaml", "      ports:\n        - {protocol: TCP, port: 443}\n", "", "keybearer/gateway > public 22/TCP"},
		{"every protocol", "gateway/network.yaml", "{protocol: TCP, port: 443}", "{protocol: UDP, port: 443}", "keybearer/gateway > public 443/UDP"},
		{"everybody comes in", "gateway/network.yaml", "- namespaceSelector: {matchLabels: {keybearer: client}}", "- namespaceSelector: {}", "elsewhere/stranger > keybearer/gateway 9080/TCP"},
		{"the operators' server goes out", "gateway/network.yaml", "      app.kubernetes.io/component: gateway\n", "", "keybearer/control > public 443/TCP"},
	} {
		t.Run(hole.name, func(t *testing.T) {
			hit := false
			c, err := load(func(file, text string) string {
				if strings.HasSuffix(file, hole.file) {
					changed := strings.Replace(text, hole.old, hole.new, 1)
					hit = changed != text
					return changed
				}
				return text
			}, everything...)
			if err != nil || !hit {
				t.Fatalf("%v, found: %v", err, hit)
			}
			got := ways(t, c)
			if slices.Contains(base, hole.opens) || !slices.Contains(got, hole.opens) {
				t.Errorf("%s stays closed", hole.opens)
			}
		})
	}
}
