package deploy

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// endpoint is a pod, or an address outside of the cluster.
type endpoint struct {
	name       string
	addr       netip.Addr        // valid: outside
	namespace  string            //
	namespaces map[string]string // labels of the namespace
	labels     map[string]string
	ports      map[string]int32 // by their names
}

// port is where a connection goes.
type port struct {
	protocol corev1.Protocol
	number   int32
}

func (p port) String() string { return fmt.Sprintf("%d/%s", p.number, p.protocol) }

// reaches tells whether the policies let one connect to the other, by the semantics of networking.k8s.io/v1: a pod that no policy selects for a direction is open in it; one
// that is selected has what the rules of all those policies add up to. Containers of a pod are not told apart.
func reaches(policies []*networkingv1.NetworkPolicy, from, to endpoint, p port) (bool, error) {
	out, err := allowed(policies, networkingv1.PolicyTypeEgress, from, to, p)
	if err != nil || !out {
		return false, err
	}
	return allowed(policies, networkingv1.PolicyTypeIngress, to, from, p)
}

// allowed judges one direction for subject, the other end being peer.
func allowed(policies []*networkingv1.NetworkPolicy, direction networkingv1.PolicyType, subject, peer endpoint, p port) (bool, error) {
	if subject.addr.IsValid() {
		return true, nil // of no concern to the cluster
	}
	isolated := false
	for _, policy := range policies {
		hit, err := selects(&policy.Spec.PodSelector, subject.labels)
		if err != nil {
			return false, err
		}
		if !hit || policy.Namespace != subject.namespace || !slices.Contains(directions(policy), direction) {
			continue
		}
		isolated = true
		destination := peer
		if direction == networkingv1.PolicyTypeIngress {
			destination = subject
		}
		for _, r := range rules(policy, direction) {
			there, err := among(policy.Namespace, r.peers, peer)
			if err != nil {
				return false, err
			}
			if there && through(r.ports, destination, p) {
				return true, nil
			}
		}
	}
	return !isolated, nil
}

// directions are those that the policy isolates: what it names, or else ingress, and egress where it has such rules.
func directions(policy *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(policy.Spec.PolicyTypes) > 0 {
		return policy.Spec.PolicyTypes
	}
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(policy.Spec.Egress) > 0 {
		types = append(types, networkingv1.PolicyTypeEgress)
	}
	return types
}

// rule is one of either direction.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rules(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) []rule {
	var found []rule
	if direction == networkingv1.PolicyTypeEgress {
		for _, r := range policy.Spec.Egress {
			found = append(found, rule{r.To, r.Ports})
		}
		return found
	}
	for _, r := range policy.Spec.Ingress {
		found = append(found, rule{r.From, r.Ports})
	}
	return found
}

// among tells whether the endpoint is one of the peers; no peer at all means everybody.
func among(namespace string, peers []networkingv1.NetworkPolicyPeer, e endpoint) (bool, error) {
	for _, p := range peers {
		switch {
		case p.IPBlock != nil:
			if p.PodSelector != nil || p.NamespaceSelector != nil {
				return false, fmt.Errorf("a peer has ipBlock and selectors: the API server refuses it")
			}
			in, err := within(p.IPBlock, e.addr)
			if err != nil || in {
				return in, err
			}
		case !e.addr.IsValid():
			there, err := selects(p.NamespaceSelector, e.namespaces)
			if p.NamespaceSelector == nil {
				there = e.namespace == namespace
			}
			if err != nil || !there {
				if err != nil {
					return false, err
				}
				continue
			}
			hit, err := selects(p.PodSelector, e.labels)
			if err != nil {
				return false, err
			}
			if hit || p.PodSelector == nil {
				return true, nil
			}
		}
	}
	return len(peers) == 0, nil
}

// within judges an address outside of the cluster. Pods are not named by blocks here: whether that works is up to the network's plugin.
func within(block *networkingv1.IPBlock, addr netip.Addr) (bool, error) {
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return false, err
	}
	if cidr != cidr.Masked() {
		return false, fmt.Errorf("%s is not the beginning of its range", cidr)
	}
	in := addr.IsValid() && cidr.Contains(addr)
	for _, text := range block.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return false, err
		}
		if except != except.Masked() || !cidr.Contains(except.Addr()) || except.Bits() <= cidr.Bits() {
			return false, fmt.Errorf("except %s is not inside of %s", except, cidr)
		}
		in = in && !except.Contains(addr)
	}
	return in, nil
}

// through tells whether the port is one of those; none at all means every port.
func through(ports []networkingv1.NetworkPolicyPort, destination endpoint, p port) bool {
	for _, x := range ports {
		protocol := corev1.ProtocolTCP
		if x.Protocol != nil {
			protocol = *x.Protocol
		}
		switch {
		case protocol != p.protocol:
		case x.Port == nil:
			return true
		case x.Port.Type == intstr.String:
			if destination.ports[x.Port.StrVal] == p.number {
				return true
			}
		case x.EndPort != nil:
			if p.number >= x.Port.IntVal && p.number <= *x.EndPort {
				return true
			}
		case x.Port.IntVal == p.number:
			return true
		}
	}
	return len(ports) == 0
}

// selects tells whether a selector admits labels; a nil one admits none.
func selects(s *metav1.LabelSelector, of map[string]string) (bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(of)), nil
}

// pods returns the cluster's own, one for each workload.
func (c *cluster) pods() []endpoint {
	var found []endpoint
	for _, w := range c.workloads() {
		e := endpoint{name: w.GetNamespace() + "/" + w.GetName(), namespace: w.GetNamespace(), labels: w.template.Labels, ports: map[string]int32{}}
		if n := c.find("Namespace", "", e.namespace); n != nil {
			e.namespaces = named(e.namespace, n.GetLabels())
		}
		for _, x := range w.containers() {
			for _, p := range x.Ports {
				e.ports[p.Name] = p.ContainerPort
			}
		}
		found = append(found, e)
	}
	return found
}

// named adds the label that every namespace has.
func named(namespace string, labels map[string]string) map[string]string {
	l := map[string]string{"kubernetes.io/metadata.name": namespace}
	for k, v := range labels {
		l[k] = v
	}
	return l
}

// policyProblems lists what the policies name and nothing has.
func (c *cluster) policyProblems() []string {
	var found []string
	for _, policy := range all[*networkingv1.NetworkPolicy](c) {
		problem := func(format string, args ...any) {
			found = append(found, "networkpolicy "+policy.Namespace+"/"+policy.Name+": "+fmt.Sprintf(format, args...))
		}
		subjects := c.chosen(policy.Namespace, &policy.Spec.PodSelector)
		if len(subjects) == 0 {
			problem("it chooses no pod")
		}
		for _, r := range rules(policy, networkingv1.PolicyTypeIngress) {
			for _, p := range r.ports {
				for _, w := range subjects {
					if _, ok := w.port(*p.Port); !ok {
						problem("%s has no port %s", w, p.Port.String())
					}
				}
			}
		}
		for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			for _, r := range rules(policy, direction) {
				if len(r.peers) == 0 || len(r.ports) == 0 {
					problem("an %s rule is for everybody or every port", direction)
				}
				for _, p := range r.peers {
					name := policy.Namespace
					if p.NamespaceSelector != nil {
						name = p.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
					}
					if c.find("Namespace", "", name) != nil && p.PodSelector != nil && len(c.chosen(name, p.PodSelector)) == 0 {
						problem("no pod of %s is chosen", name)
					}
				}
			}
		}
	}
	return found
}
