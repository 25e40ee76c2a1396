// The two programs of a control plane, in one binary that acts as the one it is called as: kube-apiserver or etcd. For
// machines that cannot download them; scripts/control-plane builds it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "kube-apiserver":
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	case "etcd":
		etcdmain.Main(os.Args)
	default:
		fmt.Fprintf(os.Stderr, "call it kube-apiserver or etcd, not %s\n", name)
		os.Exit(2)
	}
}
