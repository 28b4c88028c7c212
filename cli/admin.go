package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// adminFault is an error that an admin API answered with.
type adminFault struct {
	base    string
	status  int
	message string
}

func (e *adminFault) Error() string {
	return fmt.Sprintf("%s answers %d %s: %s", e.base, e.status, http.StatusText(e.status), e.message)
}

// follow asks a region again and again for what is new, and shows it, until the command is ended; with a pause in between. A region that does not answer for a while, or cannot, is asked on: what it refuses ends it.
func follow[T any](c *ucli.Context, s Streams, pause time.Duration, ask func() (T, error), show func(T) error) error {
	for {
		news, err := ask()
		wait := pause
		var fault *adminFault
		switch {
		case c.Context.Err() != nil:
			return nil
		case errors.As(err, &fault) && fault.status < http.StatusInternalServerError:
			return err
		case err != nil:
			fmt.Fprintf(s.Err, "%v; trying again\n", err)
			wait = max(pause, memberPoll)
		default:
			if err := show(news); err != nil {
				return err
			}
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// askAdmin asks the admin API at base, and decodes its answer. body is sent as JSON unless it is nil. what says in errors what was tried, like "ask for status".
func askAdmin[T any](ctx context.Context, what string, patience time.Duration, method, base, path string, body any) (out T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("%s: %w", what, err)
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, text)
	if err != nil {
		return out, fmt.Errorf("%s: %w", what, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, fmt.Errorf("%s: %w (is a node running there? --admin names another)", what, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return out, fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		var fault admin.Error
		if json.Unmarshal(answer, &fault) != nil || fault.Message == "" {
			fault.Message = "is this an admin API?"
		}
		return out, fmt.Errorf("%s: %w", what, &adminFault{base, resp.StatusCode, fault.Message})
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("%s: %s gave no such answer: %w", what, base, err)
	}
	return out, nil
}
