package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	ucli "github.com/urfave/cli/v2"

	"github.com/concordat-db/concordat/regionnode/admin"
)

// The steps of a rebuilding, as the admin API names them.
const (
	stepNone   = "none"
	stepNeeded = "needed"
	stepSaving = "saving"
)

func regionRebuildCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "rebuild",
		Usage: "bring a region back that is fenced, has lost its store, or was restored from an old copy",
		Description: "Asked of that region itself. It saves the records with writes that the others may not have, empties its store, is let in again as a region with a new store, gets every table from the\n" +
			"others, and gives them what it saved and they lack. What may be older than a deletion that they have forgotten stays saved: see `concordat region saved`.\n" +
			"The region serves nobody before. It can be interrupted, and asked again: it goes on where it was. The exit status is 1 if it takes longer than --timeout; it goes on by itself.",
		Flags: []ucli.Flag{
			&ucli.BoolFlag{Name: "yes", Usage: "do it"},
			&ucli.BoolFlag{Name: "wait", Usage: "wait until the region serves again", Value: true},
			&ucli.DurationFlag{Name: "timeout", Usage: "wait for `TIME` at most", Value: time.Hour},
		},
		Action: func(c *ucli.Context) error { return rebuildRegion(c, s) },
	}
}

func rebuildRegion(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if c.Duration("timeout") <= 0 {
		return wrongUsage(c, "--timeout is %v; it must be above zero", c.Duration("timeout"))
	}
	if !c.Bool("yes") {
		state, err := askRebuild(c.Context, http.MethodGet, base)
		if err != nil {
			return err
		}
		fmt.Fprintln(s.Err, rebuildLine(state))
		return wrongUsage(c, "rebuild empties the region's store, after it has saved what others may not have: give --yes to do it")
	}
	state, err := askRebuild(c.Context, http.MethodPost, base)
	if err != nil {
		return err
	}
	begun := state.Step != stepNone
	if c.Bool("wait") {
		if state, err = waitRebuilt(c, s, base, state); err != nil {
			return err
		}
	}
	return emit(c, s.Out, state, func(w io.Writer) error {
		line := rebuildLine(state)
		if begun && state.Step == stepNone && state.Saved == 0 {
			line = "The region is rebuilt; it had nothing that the others did not have."
		}
		_, err := fmt.Fprintln(w, line)
		return err
	})
}

func askRebuild(ctx context.Context, method, base string) (admin.Rebuild, error) {
	return askAdmin[admin.Rebuild](ctx, "rebuild region", adminPatience, method, base, "/v1/rebuild", nil)
}

// waitRebuilt returns when the region serves again. How far it is is told when it changes. The node is opened again on the way: for some moments nobody answers.
func waitRebuilt(c *ucli.Context, s Streams, base string, state admin.Rebuild) (admin.Rebuild, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	said, saved := "", uint64(0)
	for {
		next, err := askRebuild(ctx, http.MethodGet, base)
		var fault *adminFault
		switch {
		case err == nil && next.Step == stepNone:
			next.Saved = max(next.Saved, saved)
			return next, nil
		case err == nil && next.Step == stepNeeded && state.Step != stepNeeded:
			return next, fmt.Errorf("rebuild region: it has to be done again: %s", next.Why)
		case err == nil:
			state, saved = next, max(saved, next.Saved)
			if line := rebuildLine(state); line != said {
				said = line
				fmt.Fprintln(s.Err, line)
			}
		case errors.As(err, &fault):
			return state, err
		}
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("the region is not rebuilt yet: %s; it goes on by itself", rebuildLine(state))
		case <-time.After(memberPoll):
		}
	}
}

// rebuildLine says in one line how far a rebuilding is.
func rebuildLine(state admin.Rebuild) string {
	switch state.Step {
	case stepNone:
		if state.Saved > 0 {
			return fmt.Sprintf("The region is rebuilt; %d records had been saved. `concordat region saved list` shows what is still in doubt.", state.Saved)
		}
		return "There is nothing to rebuild."
	case stepNeeded:
		return "The region has to be rebuilt: " + state.Why + "."
	case stepSaving:
		return fmt.Sprintf("Saving: %d %%, %d records", state.Percent, state.Saved)
	}
	if len(state.Waiting) == 0 {
		return fmt.Sprintf("Joining: %d records are saved", state.Saved)
	}
	return "Joining: " + strings.Join(state.Waiting, "; ")
}

func regionSavedCommand(s Streams) *ucli.Command {
	return &ucli.Command{
		Name:  "saved",
		Usage: "show, restore or drop what is in doubt since a region was rebuilt",
		Description: "A write that the other regions do not have, and that may be older than a deletion that they have forgotten, is kept in the region that was rebuilt until somebody decides.\n" +
			"Records are named by a hash of their key.",
		Subcommands: []*ucli.Command{
			{
				Name:  "list",
				Usage: "list what is saved",
				Flags: []ucli.Flag{
					&ucli.StringFlag{Name: "table", Usage: "`NAME` or id of the table; default: all"},
					&ucli.IntFlag{Name: "limit", Usage: "list `NUMBER` records at most, up to 1000", Value: 100},
				},
				Action: func(c *ucli.Context) error { return listSaved(c, s) },
			},
			{
				Name:        "show",
				Usage:       "show a saved item as DynamoDB's JSON",
				ArgsUsage:   "ID",
				Description: "The item is shown to you alone: it is in no log.",
				Action: func(c *ucli.Context) error {
					return oneSaved(c, s, func(base, id string) (admin.SavedItem, error) {
						return askAdmin[admin.SavedItem](c.Context, "show saved record", adminPatience, http.MethodGet, base, "/v1/saved/"+id, nil)
					})
				},
			},
			changeSavedCommand(s, "restore", "write a saved item, as it was, by an ordinary write of now", "It replaces what the table has under that key now, in all regions."),
			changeSavedCommand(s, "drop", "forget a saved record", "It cannot be brought back."),
		},
	}
}

func changeSavedCommand(s Streams, verb, usage, description string) *ucli.Command {
	return &ucli.Command{
		Name: verb, Usage: usage, ArgsUsage: "[ID]", Description: description,
		Flags: []ucli.Flag{&ucli.BoolFlag{Name: "yes", Usage: "do it"}, &ucli.BoolFlag{Name: "all", Usage: "do it with all records, instead of one ID"}},
		Action: func(c *ucli.Context) error {
			if !c.Bool("yes") {
				return wrongUsage(c, "give --yes to %s it; show tells what it is", verb)
			}
			if c.Bool("all") {
				return changeAllSaved(c, s, verb)
			}
			return oneSaved(c, s, func(base, id string) (map[string]string, error) {
				return askAdmin[map[string]string](c.Context, verb+" saved record", adminPatience, http.MethodPost, base, "/v1/saved/"+id+"/"+verb, nil)
			})
		},
	}
}

// savedChanged is what changeAllSaved tells.
type savedChanged struct {
	Records int `json:"records"`
}

// changeAllSaved restores or drops all saved records, page by page.
func changeAllSaved(c *ucli.Context, s Streams, verb string) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if ids, err := words(c); err != nil || len(ids) > 0 {
		return cmp.Or(err, wrongUsage(c, "give --all or an ID, not both"))
	}
	var done savedChanged
	for {
		list, err := askAdmin[admin.SavedList](c.Context, "list saved records", adminPatience, http.MethodGet, base, "/v1/saved?limit=1000", nil)
		if err != nil {
			return err
		}
		if len(list.Records) == 0 {
			break
		}
		for _, r := range list.Records {
			path := "/v1/saved/" + url.PathEscape(r.ID) + "/" + verb
			if _, err := askAdmin[map[string]string](c.Context, verb+" saved record", adminPatience, http.MethodPost, base, path, nil); err != nil {
				return fmt.Errorf("after %d records: %w", done.Records, err)
			}
			done.Records++
		}
	}
	return emit(c, s.Out, done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "Done with %d records.\n", done.Records)
		return err
	})
}

// oneSaved does with the record that the argument names what f does, and shows the answer.
func oneSaved[T any](c *ucli.Context, s Streams, f func(base, id string) (T, error)) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	ids, err := words(c)
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return wrongUsage(c, "give the ID of one saved record; `concordat region saved list` shows them")
	}
	answer, err := f(base, url.PathEscape(ids[0]))
	if err != nil {
		return err
	}
	return emit(c, s.Out, answer, func(w io.Writer) error {
		var err error
		if shown, ok := any(answer).(admin.SavedItem); ok {
			err = render(w, savedTable([]admin.SavedRecord{shown.SavedRecord}))
			if len(shown.Item) > 0 && err == nil {
				_, err = fmt.Fprintf(w, "%s\n", shown.Item)
			}
			return err
		}
		_, err = fmt.Fprintln(w, "Done.")
		return err
	})
}

func listSaved(c *ucli.Context, s Streams) error {
	base, err := adminURL(c)
	if err != nil {
		return err
	}
	if n := c.Int("limit"); n < 1 || n > 1000 {
		return wrongUsage(c, "--limit is %d; it can be 1 to 1000", n)
	}
	query := url.Values{"limit": {strconv.Itoa(c.Int("limit"))}}
	if name := c.String("table"); name != "" {
		query.Set("table", name)
	}
	list, err := askAdmin[admin.SavedList](c.Context, "list saved records", adminPatience, http.MethodGet, base, "/v1/saved?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return emit(c, s.Out, list, func(w io.Writer) error {
		if len(list.Records) == 0 {
			_, err := fmt.Fprintln(w, "Nothing is saved.")
			return err
		}
		if err := render(w, savedTable(list.Records)); err != nil {
			return err
		}
		if list.More {
			_, err := fmt.Fprintln(w, "There is more.")
			return err
		}
		return nil
	})
}

func savedTable(records []admin.SavedRecord) table.Writer {
	t := newTable("id", "table", "written", "by", "saved", "bytes")
	alignRight(t, 6)
	for _, r := range records {
		name, size := r.Table, strconv.Itoa(r.Bytes)
		if name == "" {
			name = r.TableID + " (not known any more)"
		}
		if r.Deleted {
			size = "deleted"
		}
		t.AppendRow(table.Row{r.ID, name, r.Written.Local().Format(time.DateTime), r.By, r.Saved.Local().Format(time.DateTime), size})
	}
	return t
}
