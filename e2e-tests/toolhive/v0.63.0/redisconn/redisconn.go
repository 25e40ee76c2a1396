// Package redisconn stands in for the package of this name in ToolHive's module toolhive-core, where that one cannot be
// downloaded. It was written from the places in ToolHive v0.63.0 that use it, so ToolHive can be built and run with it; how
// the real one opens a connection to Redis, with which time limits and which checks, cannot be concluded from it.
package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says which Redis to connect to: the one at Addr, a cluster that Addr belongs to, or the master that sentinels name.
type Config struct {
	Addr           string
	ClusterMode    bool
	SentinelConfig *SentinelConfig
	DB             int
	Username       string
	Password       string
	DialTimeout    time.Duration
	ReadTimeout    time.Duration
	WriteTimeout   time.Duration
	// TLS is nil for a connection without encryption.
	TLS         *TLSConfig
	SentinelTLS *TLSConfig
}

// SentinelConfig names a master and the sentinels that know where it is.
type SentinelConfig struct {
	MasterName    string
	SentinelAddrs []string
}

// TLSConfig says how the certificate of the server is checked. Without CACert, the authorities of the system count.
type TLSConfig struct {
	InsecureSkipVerify bool
	CACert             []byte
}

// NewClient opens a client and asks the server for an answer.
func NewClient(ctx context.Context, config *Config) (redis.UniversalClient, error) {
	if config.SentinelTLS != nil {
		return nil, errors.New("this stand-in for redisconn has no TLS to sentinels")
	}
	encryption, err := BuildTLSConfig(config.TLS)
	if err != nil {
		return nil, err
	}
	options := &redis.UniversalOptions{
		Addrs: []string{config.Addr}, IsClusterMode: config.ClusterMode, DB: config.DB,
		Username: config.Username, Password: config.Password, TLSConfig: encryption,
		DialTimeout: config.DialTimeout, ReadTimeout: config.ReadTimeout, WriteTimeout: config.WriteTimeout,
	}
	if sentinels := config.SentinelConfig; sentinels != nil {
		options.Addrs, options.MasterName = sentinels.SentinelAddrs, sentinels.MasterName
	}
	client := redis.NewUniversalClient(options)
	if err := client.Ping(ctx).Err(); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("failed to connect to Redis: %w", err)
	}
	return client, nil
}

// BuildTLSConfig checks a configuration and returns it as crypto/tls takes it. It returns nil for nil.
func BuildTLSConfig(config *TLSConfig) (*tls.Config, error) {
	if config == nil {
		return nil, nil
	}
	result := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: config.InsecureSkipVerify}
	if len(config.CACert) > 0 {
		result.RootCAs = x509.NewCertPool()
		if !result.RootCAs.AppendCertsFromPEM(config.CACert) {
			return nil, errors.New("the certificate authority has no certificate in PEM format")
		}
	}
	return result, nil
}
