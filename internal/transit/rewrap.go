package transit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/keybearer/keybearer"
)

// A batch is as large as Vault answers well within the time that it has.
const (
	batchItems = 1000
	batchBytes = 4 << 20 // Vault takes 32 MiB
)

// Rewrap implements [keybearer.Keyring].
func (k *Keyring) Rewrap(ctx context.Context, key string, items []keybearer.RewrapItem) ([]keybearer.RewrapResult, error) {
	const op = "rewrap"
	latest, err := k.KeyVersion(ctx, key)
	if keybearer.CodeOf(err) == keybearer.NotFound {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "the keyring has no key of that name", Err: err}
	}
	if err != nil {
		return nil, as(op, err)
	}
	results := make([]keybearer.RewrapResult, len(items))
	var batch []item
	var places []int // of the batch's items in results
	size := 0
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := k.rewrap(ctx, key, latest, batch, places, results)
		batch, places, size = batch[:0], places[:0], 0
		return err
	}
	for i, it := range items {
		switch version(it.Sealed) {
		case 0:
			results[i].Err = unopenable(op, keybearer.ErrUnopenable)
			continue
		case latest:
			results[i].Sealed = it.Sealed
			continue
		}
		batch, places, size = append(batch, item{Ciphertext: string(it.Sealed), Context: items[i].Context[:]}), append(places, i), size+len(it.Sealed)
		if len(batch) == batchItems || size >= batchBytes {
			if err := send(); err != nil {
				return nil, err
			}
		}
	}
	if err := send(); err != nil {
		return nil, err
	}
	return results, nil
}

// rewrap sends one batch. Vault reports items that do not open one by one, with 200 or 400.
func (k *Keyring) rewrap(ctx context.Context, key string, latest uint32, batch []item, places []int, results []keybearer.RewrapResult) error {
	const op = "rewrap"
	path := k.path("rewrap", key)
	body, err := k.control.WriteBatch(ctx, path, map[string]any{"batch_input": batch})
	if err != nil {
		return unavailable(op, err)
	}
	var answer struct {
		Data struct {
			Results []item `json:"batch_results"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Data.Results) != len(batch) {
		return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault's answer has not one result for each secret"}
	}
	for n, r := range answer.Data.Results {
		result := &results[places[n]]
		switch text := []byte(r.Ciphertext); {
		case r.Error != "":
			result.Err = unopenable(op, fmt.Errorf("PUT %s: %d: item: %s", path, http.StatusBadRequest, r.Error))
		case version(text) < latest: // 0 included
			return &keybearer.Error{Code: keybearer.KeyringUnavailable, Op: op, Detail: "Vault's answer is no ciphertext of the latest version"}
		default:
			result.Sealed = text
		}
	}
	return nil
}
