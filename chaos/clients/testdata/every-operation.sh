#!/usr/bin/env bash
# The AWS CLI does every operation that is offered, in one region of two: bash every-operation.sh NAME URL NAME URL.
set -euo pipefail
here() { aws dynamodb --region "$name" --endpoint-url "$url" --output json "$@"; }
there() { aws dynamodb --region "$other_name" --endpoint-url "$other_url" --output json "$@"; }
name=$1 url=$2 other_name=$3 other_url=$4

# is EXPECTED COMMAND...: the output without white space is what is expected.
is() {
    local want=$1 got
    shift
    got=$("$@" | tr -d ' \n')
    if [ "$got" != "$want" ]; then
        echo "$*: got $got, want $want" >&2
        exit 1
    fi
}
# refused EXCEPTION COMMAND...: the command fails, and names the exception.
refused() {
    local want=$1 got
    shift
    if got=$("$@" 2>&1); then
        echo "$*: was not refused" >&2
        exit 1
    fi
    case $got in *"($want)"*) ;; *) echo "$*: got $got, want $want" >&2; exit 1 ;; esac
}
ada='{"pk":{"S":"ada"}}'

here create-table --table-name people --billing-mode PAY_PER_REQUEST \
    --attribute-definitions AttributeName=pk,AttributeType=S AttributeName=city,AttributeType=S --key-schema AttributeName=pk,KeyType=HASH \
    --global-secondary-indexes 'IndexName=by-city,KeySchema=[{AttributeName=city,KeyType=HASH}],Projection={ProjectionType=ALL}' > table.json
here wait table-exists --table-name people
is '"ACTIVE"' here describe-table --table-name people --query Table.TableStatus
is '["people"]' here list-tables --query TableNames
arn=$(here describe-table --table-name people --query Table.TableArn --output text)
here tag-resource --resource-arn "$arn" --tags Key=team,Value=shop Key=stage,Value=test
here untag-resource --resource-arn "$arn" --tag-keys stage
is '[{"Key":"team","Value":"shop"}]' here list-tags-of-resource --resource-arn "$arn" --query Tags
here update-time-to-live --table-name people --time-to-live-specification Enabled=true,AttributeName=expires > ttl.json
is '"expires"' here describe-time-to-live --table-name people --query TimeToLiveDescription.AttributeName
here describe-limits > limits.json
here describe-endpoints > endpoints.json
here update-table --table-name people --deletion-protection-enabled > table.json
refused ValidationException here delete-table --table-name people
here update-table --table-name people --no-deletion-protection-enabled > table.json

here put-item --table-name people --item '{"pk":{"S":"ada"},"city":{"S":"London"},"n":{"N":"1"}}'
refused ConditionalCheckFailedException here put-item --table-name people --item "$ada" --condition-expression 'attribute_not_exists(pk)'
is '{"n":{"N":"3"}}' here update-item --table-name people --key "$ada" --update-expression 'SET n = n + :two' \
    --expression-attribute-values '{":two":{"N":"2"}}' --return-values UPDATED_NEW --query Attributes
is '{"n":{"N":"3"}}' here get-item --table-name people --key "$ada" --projection-expression n --query Item
here batch-write-item --request-items '{"people":[{"PutRequest":{"Item":{"pk":{"S":"bob"},"city":{"S":"Paris"}}}},{"PutRequest":{"Item":{"pk":{"S":"eve"},"city":{"S":"Paris"}}}}]}' > batch.json
is '[{"city":{"S":"Paris"}}]' here batch-get-item --request-items '{"people":{"Keys":[{"pk":{"S":"bob"}}],"ProjectionExpression":"city"}}' --query Responses.people
is 1 here query --table-name people --key-condition-expression 'pk = :p' --expression-attribute-values '{":p":{"S":"bob"}}' --query Count
is 2 here query --table-name people --index-name by-city --key-condition-expression 'city = :c' --expression-attribute-values '{":c":{"S":"Paris"}}' --query Count
is 3 here scan --table-name people --page-size 1 --select COUNT --query Count
is 2 here scan --table-name people --filter-expression 'attribute_not_exists(n)' --query Count
here transact-write-items --transact-items '[{"Put":{"TableName":"people","Item":{"pk":{"S":"max"}}}},{"ConditionCheck":{"TableName":"people","Key":{"pk":{"S":"ada"}},"ConditionExpression":"attribute_exists(pk)"}}]'
refused TransactionCanceledException here transact-write-items \
    --transact-items '[{"Put":{"TableName":"people","Item":{"pk":{"S":"max"}},"ConditionExpression":"attribute_not_exists(pk)"}}]'
is '"max"' here transact-get-items --transact-items '[{"Get":{"TableName":"people","Key":{"pk":{"S":"max"}}}}]' --query 'Responses[0].Item.pk.S'
here execute-statement --statement "INSERT INTO people VALUE {'pk': 'zoe', 'city': 'Rome'}" > statement.json
is '"Rome"' here execute-statement --statement "SELECT city FROM people WHERE pk = ?" --parameters '[{"S":"zoe"}]' --query 'Items[0].city.S'
here batch-execute-statement --statements "[{\"Statement\":\"UPDATE people SET city = 'Oslo' WHERE pk = 'zoe'\"}]" > statement.json
here execute-transaction --transact-statements "[{\"Statement\":\"UPDATE people SET city = 'Bern' WHERE pk = 'zoe'\"}]" > statement.json
is '{"S":"Bern"}' here delete-item --table-name people --key '{"pk":{"S":"zoe"}}' --return-values ALL_OLD --query Attributes.city
refused ResourceNotFoundException here get-item --table-name nothing --key "$ada"
refused ValidationException here get-item --table-name people --key '{"x":{"S":"ada"}}'
refused UnknownOperationException here list-backups

here update-table --table-name people --replica-updates "Create={RegionName=$other_name}" > table.json
there wait table-exists --table-name people
is 4 there scan --table-name people --select COUNT --query Count
is '{"n":{"N":"3"}}' there get-item --table-name people --key "$ada" --projection-expression n --query Item
here list-global-tables > global.json
refused GlobalTableNotFoundException here describe-global-table --global-table-name nothing
there delete-table --table-name people > table.json
there wait table-not-exists --table-name people
here delete-table --table-name people > table.json
here wait table-not-exists --table-name people
echo "done"
