package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// redisRival keeps each item as a string of its value.
type redisRival struct {
	client *redis.Client
	addr   string
	prefix string
	texts  texts
}

func newRedis(addr, name string, r *run) *redisRival {
	return &redisRival{addr: addr, prefix: name + ":", texts: r.texts, client: redis.NewClient(&redis.Options{Addr: addr, PoolSize: r.cfg.Connections,
		MinIdleConns: r.cfg.Connections, ReadTimeout: requestPatience, WriteTimeout: requestPatience, DisableIdentity: true})}
}

func (d *redisRival) at() string { return d.addr }

func (d *redisRival) prepare(ctx context.Context) (settings []string, err error) {
	for _, name := range []string{"appendonly", "appendfsync", "save"} {
		found, err := d.client.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, fmt.Errorf("read its settings: %w", err)
		}
		settings = append(settings, fmt.Sprintf("%s %q", name, found[name]))
	}
	return settings, nil
}

func (d *redisRival) askers(_ context.Context, n int) ([]asker, error) {
	all := make([]asker, n)
	for i := range all {
		all[i] = d // the client has a connection for each
	}
	return all, nil
}

func (d *redisRival) key(i int64) string { return string(appendKey([]byte(d.prefix), i)) }

func (d *redisRival) put(ctx context.Context, i int64) error {
	return d.client.Set(ctx, d.key(i), d.texts.value(i), 0).Err()
}

func (d *redisRival) get(ctx context.Context, i int64) (bool, error) {
	b, err := d.client.Get(ctx, d.key(i)).Bytes()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return len(b) == valueBytes, err
}

// removeAtOnce is how many keys one request removes.
const removeAtOnce = 1000

func (d *redisRival) remove(ctx context.Context, n int64) (err error) {
	for from := int64(0); from < n && err == nil; from += removeAtOnce {
		var keys []string
		for i := from; i < min(n, from+removeAtOnce); i++ {
			keys = append(keys, d.key(i))
		}
		err = d.client.Unlink(ctx, keys...).Err()
	}
	return errors.Join(err, d.client.Close())
}
