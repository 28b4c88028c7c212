package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// adminAnswer is an error that an admin API answered with.
type adminAnswer struct {
	base    string
	status  int
	message string
}

func (e *adminAnswer) Error() string {
	return fmt.Sprintf("%s answers %d %s: %s", e.base, e.status, http.StatusText(e.status), e.message)
}

// askAdmin sends a request to the admin API at base and decodes the answer. body is sent as JSON, if it is not nil. what is what is tried, for errors; ctx bounds the time.
func askAdmin(ctx context.Context, what, method, base, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, sent)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w (is a node running there? --admin names another)", what, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		var fault admin.Error
		if json.Unmarshal(b, &fault) != nil || fault.Message == "" {
			fault.Message = "is this an admin API?"
		}
		return fmt.Errorf("%s: %w", what, &adminAnswer{base, resp.StatusCode, fault.Message})
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %s gave what cannot be read: %w", what, base, err)
	}
	return nil
}
