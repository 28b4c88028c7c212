package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

const tablePoll = 20 * time.Millisecond // between looks at a table that comes or goes

// tables makes and deletes tables at one endpoint. That is rare, so the SDK does it.
type tables struct {
	region string
	db     *dynamodb.Client
	wait   time.Duration
}

func newTables(region, endpoint string, cfg Config) *tables {
	keys := cfg.Credentials
	if keys == (Credentials{}) {
		keys = Credentials{"bench", "bench"} // the SDK does not go without
	}
	return &tables{region: region, wait: cfg.Wait, db: dynamodb.New(dynamodb.Options{BaseEndpoint: aws.String(endpoint), Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKey, keys.SecretKey, "")})}
}

// create makes the table here, with a change stream that shows all or with none, and waits until it is active.
func (t *tables) create(ctx context.Context, name string, told bool) error {
	var stream *types.StreamSpecification
	if told {
		stream = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}
	}
	_, err := t.db.CreateTable(ctx, &dynamodb.CreateTableInput{
		StreamSpecification: stream,
		TableName:           aws.String(name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(keyName), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(keyName), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		return fmt.Errorf("%s: create table %s: %w", t.region, name, err)
	}
	return t.active(ctx, name, 0)
}

// replicate adds a replica of the table in each of the regions, and waits until all regions say that all are active.
func (t *tables) replicate(ctx context.Context, name string, others []*tables) error {
	for i, other := range others {
		err := t.patiently(ctx, "add replica "+other.region, func() (bool, error) {
			_, err := t.db.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: aws.String(name), ReplicaUpdates: []types.ReplicationGroupUpdate{
				{Create: &types.CreateReplicationGroupMemberAction{RegionName: aws.String(other.region)}}}})
			// Its owner says so as long as it has not heard of every region since its start.
			if code(err) == "ServiceUnavailableException" {
				return false, nil
			}
			return true, err
		})
		if err != nil {
			return err
		}
		if err := t.active(ctx, name, i+1); err != nil {
			return err
		}
	}
	for _, other := range others {
		if err := other.active(ctx, name, len(others)); err != nil {
			return err
		}
	}
	return nil
}

// active waits until the table and that many replicas in other regions are active, as this region sees it.
func (t *tables) active(ctx context.Context, name string, replicas int) error {
	return t.patiently(ctx, "table "+name+" becomes active", func() (bool, error) {
		out, err := t.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
		if missing(err) {
			return false, nil // has not heard of it yet
		}
		if err != nil {
			return false, err
		}
		there := 0
		for _, r := range out.Table.Replicas {
			if aws.ToString(r.RegionName) != t.region && r.ReplicaStatus == types.ReplicaStatusActive {
				there++
			}
		}
		return out.Table.TableStatus == types.TableStatusActive && there >= replicas, nil
	})
}

// remove deletes this region's replica of the table and waits until it is gone. It is no error if there is none.
func (t *tables) remove(ctx context.Context, name string) error {
	err := t.patiently(ctx, "delete table "+name, func() (bool, error) {
		_, err := t.db.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(name)})
		var busy *types.ResourceInUseException
		if errors.As(err, &busy) {
			return false, nil // another replica is coming or going
		}
		if missing(err) {
			return true, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return t.patiently(ctx, "table "+name+" goes", func() (bool, error) {
		_, err := t.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
		if missing(err) {
			return true, nil
		}
		return false, err
	})
}

// patiently looks until done says that it is, fails, or the time is over.
func (t *tables) patiently(ctx context.Context, what string, done func() (bool, error)) error {
	return patiently(ctx, t.wait, tablePoll, t.region+": "+what, done)
}

// patiently calls done until it says that it is done, fails, or limit is over.
func patiently(ctx context.Context, limit, interval time.Duration, what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(limit); ; {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
		if err := pause(ctx, interval); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

func missing(err error) bool {
	var notFound *types.ResourceNotFoundException
	return errors.As(err, &notFound)
}

// code returns the error's name in the API, "" where it has none.
func code(err error) string {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return ""
	}
	return answer.ErrorCode()
}
