package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func client(ctx context.Context, region, url string) *dynamodb.Client {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("dev", "dev", "")))
	if err != nil {
		log.Fatal(err)
	}
	return dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.BaseEndpoint = aws.String(url) })
}

func main() {
	ctx := context.Background()
	eu := client(ctx, "eu-central-1", "http://127.0.0.1:8001")
	us := client(ctx, "us-east-1", "http://127.0.0.1:8000")

	key := map[string]types.AttributeValue{
		"artist": &types.AttributeValueMemberS{Value: "Sigur Rós"},
		"song":   &types.AttributeValueMemberS{Value: "Hoppípolla"},
	}
	if _, err := eu.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("music"), Item: key}); err != nil {
		log.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		out, err := us.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("music"), Key: key})
		if err != nil {
			log.Fatal(err)
		}
		if out.Item != nil {
			fmt.Println("in us-east-1 after", time.Since(began))
			return
		}
	}
}
