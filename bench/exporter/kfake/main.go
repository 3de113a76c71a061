// SPDX-License-Identifier: Apache-2.0

// kfake: a Kafka cluster in one process, of three brokers with TOPICS x 100 partitions and GROUPS
// groups that have committed, each answer 2 ms late. It prints its addresses and stays.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

type late struct {
	at    time.Time
	bytes []byte
}

// lateConn sends what is written after the delay, in order, without holding up what comes next.
type lateConn struct {
	net.Conn
	out chan late
}

func (c *lateConn) Write(bytes []byte) (int, error) {
	c.out <- late{time.Now().Add(*delay), append([]byte(nil), bytes...)}
	return len(bytes), nil
}

type lateListener struct{ net.Listener }

func (l lateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &lateConn{conn, make(chan late, 4096)}
	go func() {
		for each := range c.out {
			time.Sleep(time.Until(each.at))
			if _, err := conn.Write(each.bytes); err != nil {
				return
			}
		}
	}()
	return c, nil
}

var (
	topics = flag.Int("topics", 100, "topics, of 100 partitions each")
	groups = flag.Int("groups", 1000, "groups")
	places = flag.Int("places", 20, "partitions that each group has committed")
	delay  = flag.Duration("delay", 2*time.Millisecond, "of each answer")
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	flag.Parse()
	var names []string
	for i := 0; i < *topics; i++ {
		names = append(names, fmt.Sprintf("topic-%d", i))
	}
	listen := func(network, address string) (net.Listener, error) {
		listener, err := net.Listen(network, address)
		return lateListener{listener}, err
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(100, names...),
		kfake.ListenFn(listen))
	must(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	must(err)
	admin := kadm.NewClient(client)
	for i := 0; i < *groups; i++ {
		offsets := make(kadm.Offsets)
		for k := 0; k < *places; k++ {
			offsets.AddOffset(names[i%len(names)], int32((i+k)%100), 0, -1)
		}
		_, err := admin.CommitOffsets(context.Background(), fmt.Sprintf("group-%d", i), offsets)
		must(err)
	}
	fmt.Println(strings.Join(cluster.ListenAddrs(), ","))
	select {}
}
