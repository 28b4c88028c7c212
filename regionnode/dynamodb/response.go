package dynamodb

import (
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"time"
)

// requestIDLen is the length of AWS's request ids: 260 bits, 5 in each character.
const requestIDLen = 52

// fillRequestID makes a request id: upper-case letters and digits. It need not be secret, only not repeat.
func fillRequestID(id *[requestIDLen]byte) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
	for i := 0; i < len(id); {
		bits := rand.Uint64()
		for n := 0; n < 12 && i < len(id); n++ {
			id[i] = alphabet[bits&31]
			bits >>= 5
			i++
		}
	}
}

// appendCRC appends the CRC-32 (IEEE) of body in decimal, which SDKs compare with what they got.
func appendCRC(dst, body []byte) []byte {
	return strconv.AppendUint(dst, uint64(crc32.ChecksumIEEE(body)), 10)
}

// appendSeconds appends a time as DynamoDB does: seconds since 1970 with milliseconds.
func appendSeconds(dst []byte, t time.Time) []byte {
	return strconv.AppendFloat(dst, float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// appendUnits appends capacity units with one decimal, as DynamoDB does. They are multiples of a half.
func appendUnits(dst []byte, units float64) []byte {
	return strconv.AppendFloat(dst, units, 'f', 1, 64)
}
