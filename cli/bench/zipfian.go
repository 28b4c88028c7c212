package bench

import (
	"math"
	"math/rand/v2"
)

// zipfian chooses among items so that the one of rank i is chosen in proportion to 1/(i+1)^theta, theta between 0 and 1: by Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD
// 1994, as YCSB does. (math/rand/v2's Zipf needs an exponent above 1.) It may be used by several goroutines.
type zipfian struct {
	items             int64
	theta, alpha      float64
	zeta, eta, second float64
}

// newZipfian takes time in proportion to items.
func newZipfian(items int64, theta float64) *zipfian {
	z := &zipfian{items: items, theta: theta, alpha: 1 / (1 - theta), second: 1 + math.Pow(0.5, theta)}
	for i := int64(1); i <= items; i++ {
		z.zeta += 1 / math.Pow(float64(i), theta)
	}
	z.eta = (1 - math.Pow(2/float64(items), 1-theta)) / (1 - z.second/z.zeta)
	return z
}

// next returns a rank, from 0 on and less than items.
func (z *zipfian) next() int64 {
	u := rand.Float64()
	switch uz := u * z.zeta; {
	case uz < 1 || z.items == 1:
		return 0
	case uz < z.second:
		return 1
	}
	return min(z.items-1, int64(float64(z.items)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}
