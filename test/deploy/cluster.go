// Package deploy judges what lies in deploy/: whether Kubernetes and Compose would take it, whether its parts fit each other, and who may
// reach whom. It starts nothing; test/containers runs what can be run without a cluster.
package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubejson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	kubeyaml "sigs.k8s.io/yaml"
)

// object is one of a manifest's.
type object interface {
	runtime.Object
	metav1.Object
}

// cluster is what one or more kustomizations make.
type cluster struct {
	objects []object
	images  map[string]bool // names that a kustomization replaces by a registry's
}

// kustomization is as much of kustomize's format as deploy/ uses.
type kustomization struct {
	metav1.TypeMeta `json:",inline"`
	Resources       []string `json:"resources"`
	Patches         []struct {
		Target struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"target"`
		Patch string `json:"patch"`
	} `json:"patches"`
	Images []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
}

// edit changes the text of a file before it is read, to break it on purpose; nil changes nothing.
type edit func(file, text string) string

// load reads kustomizations as "kubectl apply -k" does, but strictly: a field that the API does not know, that is written in another case or twice is an
// error. What several of them name is there once.
func load(change edit, dirs ...string) (*cluster, error) {
	c := &cluster{images: map[string]bool{}}
	var docs [][]byte
	seen := map[string]bool{}
	for _, dir := range dirs {
		more, err := c.render(filepath.Clean(dir), change)
		if err != nil {
			return nil, err
		}
		for _, doc := range more {
			if !seen[string(doc)] {
				seen[string(doc)] = true
				docs = append(docs, doc)
			}
		}
	}
	decoder := kubejson.NewSerializerWithOptions(kubejson.DefaultMetaFactory, scheme, scheme, kubejson.SerializerOptions{Strict: true})
	for _, doc := range docs {
		decoded, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", doc, err)
		}
		o, ok := decoded.(object)
		if !ok {
			return nil, fmt.Errorf("%T is no object", decoded)
		}
		if c.find(kind(o), o.GetNamespace(), o.GetName()) != nil {
			return nil, fmt.Errorf("%s %s/%s is there twice, and not the same", kind(o), o.GetNamespace(), o.GetName())
		}
		c.objects = append(c.objects, o)
	}
	return c, nil
}

// render returns the documents of a kustomization as JSON.
func (c *cluster) render(dir string, change edit) ([][]byte, error) {
	text, err := read(filepath.Join(dir, "kustomization.yaml"), change)
	if err != nil {
		return nil, err
	}
	var k kustomization
	if err := kubeyaml.UnmarshalStrict(text, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var docs [][]byte
	for _, name := range k.Resources {
		path := filepath.Join(dir, name)
		var more [][]byte
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			more, err = c.render(path, change)
			if err != nil {
				return nil, err
			}
		} else if more, err = documents(path, change); err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	for _, p := range k.Patches {
		hit := false
		for i, doc := range docs {
			var m metav1.PartialObjectMetadata
			if err := json.Unmarshal(doc, &m); err != nil {
				return nil, err
			}
			if m.Kind != p.Target.Kind || m.Name != p.Target.Name {
				continue
			}
			hit = true
			if docs[i], err = patched(doc, p.Patch); err != nil {
				return nil, fmt.Errorf("%s: patch of %s %s: %w", dir, m.Kind, m.Name, err)
			}
		}
		if !hit {
			return nil, fmt.Errorf("%s: nothing is %s %s, which a patch names", dir, p.Target.Kind, p.Target.Name)
		}
	}
	for _, i := range k.Images {
		c.images[i.Name] = true
	}
	return docs, nil
}

func patched(doc []byte, text string) ([]byte, error) {
	asJSON, err := kubeyaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(asJSON)
	if err != nil {
		return nil, err
	}
	return patch.Apply(doc)
}

// documents returns those of a file as JSON.
func documents(path string, change edit) ([][]byte, error) {
	text, err := read(path, change)
	if err != nil {
		return nil, err
	}
	var docs [][]byte
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err == nil {
			doc, err = kubeyaml.YAMLToJSONStrict(doc)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		docs = append(docs, doc)
	}
}

func read(path string, change edit) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err == nil && change != nil {
		text = []byte(change(filepath.ToSlash(path), string(text)))
	}
	return text, err
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

func kind(o object) string { return reflect.TypeOf(o).Elem().Name() }

// find returns the object of this kind, namespace and name, or nil.
func (c *cluster) find(want, namespace, name string) object {
	i := slices.IndexFunc(c.objects, func(o object) bool { return kind(o) == want && o.GetNamespace() == namespace && o.GetName() == name })
	if i < 0 {
		return nil
	}
	return c.objects[i]
}

// all returns the objects of one type.
func all[T object](c *cluster) []T {
	var found []T
	for _, o := range c.objects {
		if x, ok := o.(T); ok {
			found = append(found, x)
		}
	}
	return found
}

// workload is what makes pods.
type workload struct {
	object
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	claims   []string // volumes that are claimed for each pod
	service  string   // that governs a stateful set
}

// workloads returns the deployments and stateful sets.
func (c *cluster) workloads() []workload {
	var found []workload
	for _, d := range all[*appsv1.Deployment](c) {
		found = append(found, workload{d, d.Spec.Selector, d.Spec.Template, nil, ""})
	}
	for _, s := range all[*appsv1.StatefulSet](c) {
		w := workload{s, s.Spec.Selector, s.Spec.Template, nil, s.Spec.ServiceName}
		for _, claim := range s.Spec.VolumeClaimTemplates {
			w.claims = append(w.claims, claim.Name)
		}
		found = append(found, w)
	}
	return found
}

// containers returns all of a pod's, init containers first, as they are started.
func (w workload) containers() []corev1.Container {
	return slices.Concat(w.template.Spec.InitContainers, w.template.Spec.Containers)
}

func (w workload) String() string {
	return strings.ToLower(kind(w.object)) + " " + w.GetNamespace() + "/" + w.GetName()
}
