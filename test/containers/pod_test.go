package containers

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// pod is as much of a workload in deploy/kubernetes as makes Keybearer's container. test/deploy reads all of it, strictly.
type pod struct {
	folder    string
	namespace string
	spec      podSpec
	keybearer containerSpec
}

type podSpec struct {
	ServiceAccountName string          `yaml:"serviceAccountName"`
	InitContainers     []containerSpec `yaml:"initContainers"`
	Containers         []containerSpec
	Volumes            []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
		Secret    struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode uint32 `yaml:"defaultMode"`
		}
		Projected struct {
			Sources []struct {
				ServiceAccountToken struct{ Path, Audience string } `yaml:"serviceAccountToken"`
			}
		}
	}
}

type containerSpec struct {
	Image        string
	Args         []string
	Env          []struct{ Name, Value string }
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
	StartupProbe   probeSpec `yaml:"startupProbe"`
	ReadinessProbe probeSpec `yaml:"readinessProbe"`
	LivenessProbe  probeSpec `yaml:"livenessProbe"`
}

type probeSpec struct{ Exec struct{ Command []string } }

// readPod returns the one workload of a file.
func readPod(t *testing.T, folder, file string) pod {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader([]byte(text(t, "deploy/kubernetes/"+folder+"/"+file))))
	for {
		var doc struct {
			Kind     string
			Metadata struct{ Namespace string }
			Spec     struct{ Template struct{ Spec podSpec } }
		}
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			t.Fatalf("%s/%s has no workload", folder, file)
		} else if err != nil {
			t.Fatal(err)
		}
		if doc.Kind != "StatefulSet" && doc.Kind != "Deployment" {
			continue
		}
		p := pod{folder: folder, namespace: doc.Metadata.Namespace, spec: doc.Spec.Template.Spec}
		for _, c := range append(p.spec.InitContainers, p.spec.Containers...) {
			if c.Image == "keybearer" {
				p.keybearer = c
			}
		}
		return p
	}
}

// tokens makes what the kubelet projects: a token of a service account for an audience.
type tokens func(namespace, account, audience string) string

// container returns Keybearer's with every volume that the pod gives it, as the kubelet makes them for the pod's group. secrets has a directory for each.
func (p pod) container(t *testing.T, ca *harness.CA, secrets string, issue tokens, env map[string]string) *container {
	t.Helper()
	all := maps.Clone(env)
	for _, e := range p.keybearer.Env {
		all[e.Name] = e.Value
	}
	c := newContainer(t, ca, all)
	for _, m := range p.keybearer.VolumeMounts {
		made := false
		for _, v := range p.spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			if v.ConfigMap.Name != "" {
				var config struct{ Data map[string]string }
				if err := yaml.Unmarshal([]byte(text(t, "deploy/kubernetes/"+p.folder+"/config.yaml")), &config); err != nil {
					t.Fatal(err)
				}
				for name, content := range config.Data {
					c.write(t, m.MountPath+"/"+name, content, 0, 0o644)
					made = true
				}
			}
			if v.Secret.SecretName != "" {
				files, err := filepath.Glob(filepath.Join(secrets, p.namespace, v.Secret.SecretName, "*"))
				if err != nil || len(files) == 0 {
					t.Fatalf("the page makes no secret %s/%s", p.namespace, v.Secret.SecretName)
				}
				for _, f := range files {
					c.write(t, m.MountPath+"/"+filepath.Base(f), contents(t, f), keybearerUser, os.FileMode(v.Secret.DefaultMode))
					made = true
				}
			}
			for _, s := range v.Projected.Sources {
				token := s.ServiceAccountToken
				c.write(t, m.MountPath+"/"+token.Path, issue(p.namespace, p.spec.ServiceAccountName, token.Audience), keybearerUser, 0o640)
				made = true
			}
		}
		if made {
			continue
		}
		// Empty, or claimed: root's, and open for the group.
		full := filepath.Join(c.root, m.MountPath)
		if err := errors.Join(os.MkdirAll(full, 0o755), os.Chown(full, 0, keybearerUser), os.Chmod(full, 0o775|os.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// start starts it and waits for its probes, in their order.
func (p pod) start(t *testing.T, c *container) *harness.Process {
	t.Helper()
	k := p.keybearer
	process := c.start(t, k.Args, k.StartupProbe.Exec.Command)
	for _, probe := range []probeSpec{k.ReadinessProbe, k.LivenessProbe} {
		c.await(t, process, probe.Exec.Command)
	}
	return process
}
