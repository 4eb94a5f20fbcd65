"""marine: images and boxes as others keep them: COCO, YOLO and Pascal VOC, in and out, and plain folders."""
